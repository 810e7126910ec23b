
# Copyright (C) nginx-livestream contributors
#
#   make run [DEMO=1]   the first command: packages, build, a running server
#   make test           the second one: packages, build, all the tests
#   make                only builds; README.md tells of all targets and settings


BUILD =		build
# of `make run`; the environment's count too
PREFIX ?=	run
RTMP_PORT ?=	1935
HTTP_PORT ?=	8080
DEMO ?=
T =
DESTDIR =
VERSION =	0.1.0

# Debian's; other trees are named on the command line
NGX_SRC =	/usr/share/nginx/src
NGX_RTMP_SRC =	$(OUT)/nginx-rtmp
MODULES_DIR =	/usr/lib/nginx/modules

CC_OPT =	-g -O2 -fPIC -fstack-protector-strong -Wformat \
		-Werror=format-security -D_FORTIFY_SOURCE=2
LD_OPT =	-Wl,-z,relro -Wl,-z,now

HERE :=		$(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
OUT =		$(abspath $(BUILD))
NGX =		$(OUT)/nginx
JOBS =		$(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# A tree with all of nginx in it, unlike Debian's, which has its headers, is
# one to build nginx and nginx-rtmp from too: the tests then run with those.
WHOLE =		$(wildcard $(NGX_SRC)/src/core/nginx.c)

# in an order that nginx can load them in
MODULES =	ngx_livestream_module \
		ngx_livestream_sqlite_module \
		ngx_livestream_s3_module \
		ngx_livestream_transcode_module \
		ngx_livestream_llhls_module \
		ngx_livestream_api_module

BUILT =		$(if $(WHOLE),ngx_rtmp_module) $(MODULES)

FILES =		$(sort $(wildcard $(HERE)/modules/*.c $(HERE)/sql/*.sql \
				  $(HERE)/ngx_livestream_*/*.c))

ENVIRONMENT =	TEST_NGINX_BUILD=$(OUT) $(if $(WHOLE),\
		TEST_NGINX_BINARY=$(NGX)/objs/nginx \
		TEST_NGINX_RTMP_MODULE=$(OUT)/ngx_rtmp_module.so)


.PHONY:		all deps run test check-asan check-tsan lint install deb bench \
		bench-gpu clean FORCE

all:		$(OUT)/modules.conf

deps:
	@$(HERE)/scripts/deps run

run:		deps
	@$(MAKE) --no-print-directory all
	@$(HERE)/scripts/npm run
	@BUILD=$(OUT) PREFIX=$(PREFIX) RTMP_PORT=$(RTMP_PORT) \
		HTTP_PORT=$(HTTP_PORT) DEMO=$(DEMO) $(HERE)/scripts/run

# T= names single files: make test T=t/basic.t
test:
	@$(HERE)/scripts/deps test
	@$(HERE)/scripts/npm test
	@$(MAKE) --no-print-directory all $(if $(WHOLE),$(NGX)/objs/nginx)
	@echo "   building the tests' programs"
	@$(MAKE) --no-print-directory -s $(JOBS) -C t/unit BUILD=$(OUT)/unit \
		NGX=$(NGX)
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL $(ENVIRONMENT) \
		$(HERE)/scripts/test $(T)


# what the configuration of nginx was made from: changed only if it differs

$(OUT)/settings: FORCE
	@mkdir -p $(OUT)
	@printf '%s\n' '$(NGX_SRC)' '$(NGX_RTMP_SRC)' '$(CC_OPT)' '$(LD_OPT)' \
		$(FILES) > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(OUT)/nginx-rtmp/ngx_rtmp.h:
	@$(HERE)/scripts/debian-source libnginx-mod-rtmp $(OUT)/nginx-rtmp

# only reached where there is no such file
%/src/core/nginx.h:
	@echo "no nginx source in $*: make deps, or name a tree with NGX_SRC="
	@exit 1

%/ngx_rtmp.h:
	@echo "no nginx-rtmp source in $*: name its tree with NGX_RTMP_SRC="
	@exit 1

$(NGX)/objs/Makefile: $(OUT)/settings $(HERE)/config $(HERE)/scripts/configure \
		$(wildcard $(HERE)/sql/*) $(HERE)/scripts/ptx \
		$(wildcard $(HERE)/ngx_livestream_transcode/*.cu) \
		$(NGX_RTMP_SRC)/ngx_rtmp.h $(NGX_SRC)/src/core/nginx.h
	@echo "   configuring nginx from $(NGX_SRC)"
	@$(HERE)/scripts/configure $(NGX_SRC) $(NGX_RTMP_SRC) $(NGX) \
		--with-cc-opt='$(CC_OPT)' --with-ld-opt='$(LD_OPT)' \
		$(if $(WHOLE),--add-dynamic-module=$(abspath $(NGX_RTMP_SRC)))

# nginx's own Makefile knows what is to be made anew
$(OUT)/modules.conf: $(NGX)/objs/Makefile FORCE
	@$(MAKE) --no-print-directory -s $(JOBS) -C $(NGX) -f objs/Makefile modules
	@for m in $(BUILT); do \
		cmp -s $(NGX)/objs/$$m.so $(OUT)/$$m.so || { \
			cp $(NGX)/objs/$$m.so $(OUT)/$$m.so.new && \
			mv $(OUT)/$$m.so.new $(OUT)/$$m.so && \
			echo "   built $(BUILD)/$$m.so"; } || exit 1; \
	done
	@printf 'load_module %s;\n' $(MODULES:%=$(OUT)/%.so) > $@

$(NGX)/objs/nginx: $(NGX)/objs/Makefile FORCE
	@$(MAKE) --no-print-directory -s $(JOBS) -C $(NGX) -f objs/Makefile binary


# The same tests with nginx, nginx-rtmp and the modules instrumented.

ASAN =		$(OUT)/asan
ASAN_OPT =	-g -O1 -fPIC -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1 \
		-fsanitize=address,undefined

$(OUT)/nginx-src/src/core/nginx.c:
	@$(HERE)/scripts/debian-source nginx $(OUT)/nginx-src

check-asan:	$(OUT)/nginx-src/src/core/nginx.c $(OUT)/nginx-rtmp/ngx_rtmp.h
	@TEST_NGINX_SLOW=3 $(MAKE) --no-print-directory test T="$(T)" \
		BUILD=$(ASAN) NGX_SRC=$(OUT)/nginx-src \
		NGX_RTMP_SRC=$(OUT)/nginx-rtmp CC_OPT='$(ASAN_OPT)' \
		LD_OPT='-fsanitize=address,undefined' \
		SANITIZE=address,undefined

# what has threads and no nginx: pipelines, mailbox, frames, codecs
check-tsan:
	@$(MAKE) --no-print-directory -s -C t/unit SANITIZE=thread \
		BUILD=$(OUT)/unit-thread test


lint:
	@$(HERE)/scripts/deps lint
	@$(MAKE) --no-print-directory all
	@$(HERE)/scripts/lint $(NGX) $(NGX_RTMP_SRC)

bench:
	@$(HERE)/scripts/deps test
	@$(HERE)/scripts/npm test
	@$(MAKE) --no-print-directory all
	@$(ENVIRONMENT) $(HERE)/bench/run

# on a machine that only has a GPU, from a folder that was built elsewhere
bench-gpu:
	@[ -x $(OUT)/gpu/run ] || $(HERE)/scripts/deps test
	@! pkg-config --exists libavcodec ffnvcodec || \
		$(MAKE) --no-print-directory -s -C $(HERE)/bench/gpu BUILD=$(OUT)
	@$(OUT)/gpu/run


# beside the distribution's own modules, and enabled as those are

SHARE =		$(DESTDIR)/usr/share/nginx
ENABLED =	$(DESTDIR)/etc/nginx/modules-enabled

install:	all
	@$(HERE)/scripts/npm run
	install -d $(DESTDIR)$(MODULES_DIR) $(SHARE)/modules-available \
		$(SHARE)/livestream/console/vendor $(ENABLED)
	install -m 644 $(MODULES:%=$(OUT)/%.so) $(DESTDIR)$(MODULES_DIR)
	printf 'load_module modules/%s.so;\n' $(MODULES) \
		> $(SHARE)/modules-available/mod-livestream.conf
	ln -sf /usr/share/nginx/modules-available/mod-livestream.conf \
		$(ENABLED)/60-mod-livestream.conf
	install -m 644 $(HERE)/conf/livestream.conf $(SHARE)/livestream
	install -m 644 $(wildcard $(HERE)/conf/console/*.*) \
		$(SHARE)/livestream/console
	install -m 644 $(HERE)/conf/console/vendor/* \
		$(SHARE)/livestream/console/vendor

deb:		all
	@$(HERE)/scripts/deb $(VERSION) $(OUT)


clean:
	rm -rf $(OUT)
