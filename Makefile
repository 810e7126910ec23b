
# Copyright (C) nginx-livestream contributors
#
#   make run [DEMO=1]   the first command: packages, build, a running server
#   make test           the second one: packages, build, all the tests
#   make                only builds; see README.md for all targets and settings


BUILD =		build
PREFIX =	run
RTMP_PORT =	1935
HTTP_PORT =	8080
DEMO =

# Debian's; other trees are named on the command line
NGX_SRC =	/usr/share/nginx/src
NGX_RTMP_SRC =	$(OUT)/nginx-rtmp

CC_OPT =	-g -O2 -fPIC -fstack-protector-strong -Wformat \
		-Werror=format-security -D_FORTIFY_SOURCE=2
LD_OPT =	-Wl,-z,relro -Wl,-z,now

HERE :=		$(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
OUT =		$(abspath $(BUILD))
NGX =		$(OUT)/nginx
JOBS =		$(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# in an order that nginx can load them in
MODULES =	ngx_livestream_module \
		ngx_livestream_sqlite_module \
		ngx_livestream_llhls_module \
		ngx_livestream_api_module

FILES =		$(sort $(wildcard $(HERE)/modules/*.c \
				  $(HERE)/ngx_livestream_*/*.c))


.PHONY:		all FORCE

all:		$(OUT)/modules.conf


# what the configuration of nginx was made from: changed only if it differs

$(OUT)/settings: FORCE
	@mkdir -p $(OUT)
	@printf '%s\n' '$(NGX_SRC)' '$(NGX_RTMP_SRC)' '$(CC_OPT)' '$(LD_OPT)' \
		$(FILES) > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(OUT)/nginx-rtmp/ngx_rtmp.h:
	@$(HERE)/scripts/debian-source libnginx-mod-rtmp $(OUT)/nginx-rtmp

$(NGX)/objs/Makefile: $(OUT)/settings $(HERE)/config $(HERE)/scripts/configure \
		$(NGX_RTMP_SRC)/ngx_rtmp.h $(NGX_SRC)/src/core/nginx.h
	@echo "   configuring nginx from $(NGX_SRC)"
	@$(HERE)/scripts/configure $(NGX_SRC) $(NGX_RTMP_SRC) $(NGX) \
		--with-cc-opt='$(CC_OPT)' --with-ld-opt='$(LD_OPT)'

$(OUT)/modules.conf: $(NGX)/objs/Makefile FORCE
	@$(MAKE) --no-print-directory -s $(JOBS) -C $(NGX) -f objs/Makefile modules
	@: > $@.new
	@for m in $(MODULES); do \
		[ -f $(NGX)/objs/$$m.so ] || continue; \
		cmp -s $(NGX)/objs/$$m.so $(OUT)/$$m.so || { \
			cp $(NGX)/objs/$$m.so $(OUT)/$$m.so.new && \
			mv $(OUT)/$$m.so.new $(OUT)/$$m.so && \
			echo "   built $(BUILD)/$$m.so"; }; \
		echo "load_module $(OUT)/$$m.so;" >> $@.new; \
	done
	@mv $@.new $@


clean:
	rm -rf $(OUT)

.PHONY:		clean
