package Measure;

# Copyright (C) nginx-livestream contributors
#
# What all measurements need: a server of their own, clips, the programs of
# bench/, and the kernel's word for what processes use.  Servers are those of
# the tests (t/lib), so nothing is left behind.
#
#     my $server = Measure->server(workers => 2, livestream => '...');
#     my $before = memory($server);
#     my $cpu = cpu($server);
#     ...
#     say cpu($server) - $cpu, ' s';
#     $server->end;
#
# A measurement is a package Measure::NAME with run(), which returns rows:
# { what, value, bound, good } (texts, and whether the bound was kept; undef
# where there is no bound).

use v5.28;
use warnings;

use Exporter qw(import);
use JSON::PP;
use List::Util qw(sum0);
use Test::More ();
use Time::HiRes qw(sleep time);

use Livestream::Bench;
use Livestream::Test ();

our @ISA = qw(Livestream::Test);
our @EXPORT_OK = qw(cpu busy memory files descriptors zone option viewers row
                    say_so median programs clip720);

# the servers' own tests are no part of what is printed
Test::More->builder->output('/dev/null');
Test::More->builder->failure_output('/dev/null');
Test::More->builder->no_ending(1);

my $conf = <<'END';
%%MODULES%%
daemon                off;
worker_processes      WORKERS;
worker_rlimit_nofile  NOFILE;
error_log             error.log warn;
pid                   nginx.pid;

events {
    worker_connections  16384;
}

livestream {
    root         %%DIR%%/data/media;
    store        sqlite:%%DIR%%/data/livestream.db;
    publish_url  rtmp://127.0.0.1:%%RTMP%%/live;
    LIVESTREAM
}

rtmp {
    access_log  off;

    server {
        listen  127.0.0.1:%%RTMP%%;

        application live {
            live        on;
            livestream  on;
        }
    }
}

http {
    access_log             off;
    keepalive_requests     1000000;
    client_body_temp_path  tmp_body;
    proxy_temp_path        tmp_proxy;
    fastcgi_temp_path      tmp_fastcgi;
    uwsgi_temp_path        tmp_uwsgi;
    scgi_temp_path         tmp_scgi;
    sendfile               on;
    tcp_nodelay            on;

    types {
        application/vnd.apple.mpegurl  m3u8;
        video/mp4                      m4s mp4;
    }

    server {
        listen  127.0.0.1:%%HTTP%% backlog=8192;

        location /streams/ { livestream_llhls; }
        location /api/v1/  { livestream_api; }
        location /static/  { root %%DIR%%; }
    }
}
END

my $plain = <<'END';
load_module %%RTMPMODULE%%;
daemon                off;
worker_processes      WORKERS;
worker_rlimit_nofile  NOFILE;
error_log             error.log warn;
pid                   nginx.pid;

events {
    worker_connections  16384;
}

rtmp {
    access_log  off;

    server {
        listen  127.0.0.1:%%RTMP%%;

        application live {
            live          on;
            hls           on;
            hls_path      %%DIR%%/data/hls;
            hls_fragment  2s;
        }
    }
}

http {
    access_log             off;
    client_body_temp_path  tmp_body;
    proxy_temp_path        tmp_proxy;
    fastcgi_temp_path      tmp_fastcgi;
    uwsgi_temp_path        tmp_uwsgi;
    scgi_temp_path         tmp_scgi;

    server {
        listen  127.0.0.1:%%HTTP%%;
    }
}
END


# A server that runs: ours, or with "plain" nginx-rtmp with its own HLS.
sub server {
    my ($class, %o) = @_;

    my $text = $o{plain} ? $plain : $conf;
    my $workers = $o{workers} // 2;

    $text =~ s/WORKERS/$workers/;
    $text =~ s/NOFILE/nofile()/e;
    $text =~ s/LIVESTREAM/$o{livestream} \/\/ ''/e;

    my $module = $ENV{TEST_NGINX_RTMP_MODULE}
        || '/usr/lib/nginx/modules/ngx_rtmp_module.so';
    $text =~ s/%%RTMPMODULE%%/$module/;

    my $server = $class->SUPER::new(conf => $text, workers => $workers);

    mkdir "$server->{dir}/static";
    $server->start;

    Livestream::Test::wait_for(sub { $server->workers == $workers })
        or die "nginx has no workers\n";

    return $server;
}


# As many descriptors as may be had; more can be asked for by root only.
sub nofile {
    my $hard = `sh -c 'ulimit -Hn'`;

    return $hard =~ /^(\d+)/ && $1 < 65536 ? $1 : 65536;
}


# Ends it, and says what it complained of.
sub end {
    my ($server) = @_;

    my @lines = grep { /\[(?:alert|emerg|crit)\]/ } split /^/, $server->log;

    print STDERR map { "    $_" } @lines[0 .. ($#lines < 4 ? $#lines : 4)];
    $server->stop('QUIT');
}


sub pids { ($_[0]->master, $_[0]->workers('all')) }


# Seconds of CPU that nginx has used, all threads of all processes.
sub cpu {
    my ($server) = @_;

    my $ticks = sum0 map {
        my $stat = Livestream::Test::read_file("/proc/$_/stat");
        $stat =~ s/^.*\) //s ? sum0((split / /, $stat)[11, 12]) : 0;
    } pids($server);

    return $ticks / 100;
}


# Seconds of CPU that the whole machine has used.
sub busy {
    my ($user, $nice, $system, undef, undef, $irq, $softirq)
        = (split ' ', Livestream::Test::read_file('/proc/stat'))[1 .. 7];

    return ($user + $nice + $system + $irq + $softirq) / 100;
}


# Bytes: each page counted once, by its share (PSS).
sub memory {
    my ($server) = @_;

    return 1024 * sum0 map {
        Livestream::Test::read_file("/proc/$_/smaps_rollup")
            =~ /^Pss:\s+(\d+)/m ? $1 : 0;
    } pids($server);
}


sub descriptors {
    my ($server) = @_;

    return sum0 map { scalar(() = glob "/proc/$_/fd/*") } pids($server);
}


# Bytes of the shared memory that were ever touched.
sub zone {
    my ($server) = @_;

    my $smaps = Livestream::Test::read_file(
        '/proc/' . ($server->workers)[0] . '/smaps');

    return 1024 * sum0 $smaps =~ m{/dev/zero[^\n]*\n(?:\w+:[^\n]*\n)*?
                                   Rss:\s+(\d+)}gx;
}


# Files of media.
sub files {
    my ($server) = @_;

    my $n = () = `find \Q$server->{dir}\E/data/media -type f`;
    return $n;
}


# ---- the programs and their clips

sub programs {
    my ($server) = @_;

    return $server->{programs} //= Livestream::Bench->new($server);
}


# 720p at 2.5 Mbit/s, a key frame every two seconds; as many frames of audio
# as fit, so that a loop has no seam.
sub clip720 {
    my ($server) = @_;

    return programs($server)->clip(
        size => '1280x720', seconds => 8, gop => 2,
        video => ['libx264', '-preset', 'veryfast', '-b:v', '2500k',
                  '-minrate', '2500k', '-maxrate', '2500k',
                  '-bufsize', '2500k', '-x264-params', 'nal-hrd=cbr',
                  '-bf', 2],
        audio => ['aac', '-b:a', '128k']);
}


# Runs the load generator; what it measured.  Meanwhile $each is called twice
# a second.
sub viewers {
    my ($server, $each, @options) = @_;

    my $name = 'load' . ++$server->{loads};
    my $pid = $server->spawn($name, programs($server)->{dir} . '/viewers',
                             '--json', @options);

    while (!defined Livestream::Test::reap($pid)) {
        sleep 0.5;
        $each->() if $each;
    }

    my $text = Livestream::Test::read_file("$server->{dir}/$name.log");

    return eval { decode_json($text) }
        // die "the load generator said: $text\n";
}


# ---- printing

sub option { $ENV{"BENCH_$_[0]"} || $_[1] }

sub row {
    my ($what, $value, $bound, $good) = @_;

    return { what => $what, value => $value, bound => $bound // '',
             good => $good };
}


sub say_so { print STDERR "    @_\n" }


sub median {
    my @sorted = sort { $a <=> $b } @_;

    return @sorted ? $sorted[$#sorted / 2] : 0;
}


1;
