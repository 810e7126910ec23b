package Livestream::Test;

# Copyright (C) nginx-livestream contributors
#
# A real nginx, with real publishers and clients, in a folder and on ports of
# its own.  Nothing is shared between two tests, so they may run side by side.
#
#     use lib 't/lib';
#     use Livestream::Test;
#
#     my $t = Livestream::Test->new(livestream => 'part_duration 200ms;');
#     $t->start;
#
#     my $s = $t->create(title => 'A concert', low_latency => JSON_TRUE);
#     my $p = $t->publish($s, fps => '30000/1001', gop => 1);
#
#     ok($t->wait_live($s), 'the stream can be played');
#     my $m = $t->playlist($s, 'source', '_HLS_msn=2');
#     is($m->{segments}[0]{msn}, 0, 'the first segment is there');
#
#     $t->stop;
#     done_testing();
#
# Exported: all of Test::More, JSON_TRUE, JSON_FALSE, wait_for, now.
#
# new(NAME => ...): pieces of the configuration, all of them optional:
#     workers      2
#     main, livestream, rtmp, application, http, server, streams, api
#                  directives put into the context of that name (streams and
#                  api are the locations /streams/ and /api/v1/)
#     locations    further location blocks
#     conf         a whole configuration instead; %%DIR%%, %%HTTP%%, %%RTMP%%,
#                  %%HTTPS%%, %%MODULES%%, %%CHECKOUT%% are replaced
#     tls          1: also "listen %%HTTPS%% ssl http2", with a certificate
#                  made for the test
#     without      names of the suite's modules that are not to be loaded:
#                  ['ngx_livestream_api_module']
#     env          environment of nginx
#
# The object:
#     $t->{dir} $t->{http} $t->{rtmp} $t->{https}    folder and ports
#     start, reload, quit, stop, restart_hard        life cycle, below
#     master, workers                                process ids
#     log, log_like(qr/../), allow(qr/../)           the error log
#     create, api, sql                               streams and their store
#     publish                                        ffmpeg: see ::Publisher
#     publish_fast                                   hours of it at once: see
#                                                    Bench.pm, ahead()
#     get, request, client                           HTTP: see ::HTTP
#     url, playlist, master_playlist, wait_live      playlists: see ::M3U8
#     spawn(@argv)                                   any other process
#
# stop() lets nginx quit, and fails the test on any [alert], [emerg] or
# sanitizer line that allow() did not name, and on any process that is left
# over.  A test that dies or is interrupted leaves no process behind.
#
# Environment: TEST_NGINX_BINARY, TEST_NGINX_RTMP_MODULE, TEST_NGINX_BUILD (the
# folder that has modules.conf), TEST_NGINX_LEAVE (keep the folder),
# TEST_NGINX_SLOW (all timeouts times that).

use v5.28;
use warnings;

use Cwd qw(abs_path);
use Errno qw(EINTR);
use Fcntl qw(:DEFAULT :flock);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(sleep time);

use Livestream::Test::HTTP;
use Livestream::Test::M3U8;
use Livestream::Test::Publisher;

use constant { JSON_TRUE => JSON::PP::true, JSON_FALSE => JSON::PP::false };

use constant FIRST_PORT => 20000;
use constant LAST_PORT  => 32000;

my $owner = $$;                 # only this process cleans up
my @instances;
my %children;                   # pid => name, started by us and not reaped
my @locks;                      # of ports, until the test ends
my $checkout = abs_path(dirname(__FILE__) . '/../../..');

$SIG{PIPE} = 'IGNORE';
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);


sub import {
    my $caller = caller;

    strict->import;
    warnings->import;

    Test::More->export_to_level(1, $caller);

    no strict 'refs';
    *{"$caller\::$_"} = \&$_ for qw(JSON_TRUE JSON_FALSE wait_for now);
}


# ---- helpers

# The value of the block once it is true, looked at again and again for at most
# $seconds; else the last value.  Never sleep where a condition can be awaited.
sub wait_for(&;$) {
    my ($condition, $seconds) = @_;

    my $end = time() + slow($seconds // 10);
    my $value;

    for ( ;; ) {
        $value = $condition->();
        return $value if $value or time() > $end;
        sleep 0.02;
    }
}


sub now { time() }


# a timeout on machines that are slower, or under a sanitizer
sub slow { $_[0] * ($ENV{TEST_NGINX_SLOW} || 1) }


sub read_file {
    my ($path) = @_;

    open my $fh, '<', $path or return '';
    local $/;
    return scalar <$fh> // '';
}


sub write_file {
    my ($path, $text) = @_;

    open my $fh, '>', $path or die "$path: $!\n";
    print $fh $text;
    close $fh or die "$path: $!\n";
}


# A port of 127.0.0.1 that no other test has, below those the kernel gives to
# clients.
sub free_port {
    my $dir = "/tmp/livestream-test-ports-$>";

    mkdir $dir;

    for (1 .. 1000) {
        my $port = FIRST_PORT + int rand(LAST_PORT - FIRST_PORT);

        sysopen my $lock, "$dir/$port", O_RDWR | O_CREAT or next;
        flock $lock, LOCK_EX | LOCK_NB or next;

        IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port,
                              Listen => 1, ReuseAddr => 1) or next;

        push @locks, $lock;
        return $port;
    }

    die "no free port\n";
}


# ---- processes

# Starts a program in the background; its output goes to $dir/NAME.log.
sub spawn {
    my ($t, $name, @argv) = @_;

    my $log = "$t->{dir}/$name.log";
    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>&', \*STDOUT;
        local %ENV = (%ENV, %{ $t->{env} });
        { no warnings; exec { $argv[0] } @argv; }
        print STDERR "$argv[0]: $!\n";
        POSIX::_exit(127);
    }

    $children{$pid} = $name;
    return $pid;
}


# The exit status of a child once it has ended, or undef after $seconds.
sub reap {
    my ($pid, $seconds) = @_;

    return undef unless $children{$pid};

    my $status;

    my $ended = wait_for {
        return 0 unless waitpid($pid, WNOHANG) == $pid;
        $status = $?;
        1;
    } $seconds // 0;

    delete $children{$pid} if $ended;

    return $ended ? $status : undef;
}


sub alive {
    my ($pid) = @_;

    my $stat = read_file("/proc/$pid/stat") or return 0;
    return $stat !~ /^\d+ \(.*\) Z/s;
}


sub children_of {
    my ($parent) = @_;

    my @pids;

    for my $file (glob '/proc/[0-9]*/stat') {
        push @pids, $1 if read_file($file) =~ /^(\d+) \(.*\) \S $parent /s;
    }

    return sort { $a <=> $b } @pids;
}


# ---- the object

sub new {
    my ($class, %arg) = @_;

    my $dir = File::Temp::tempdir('livestream-XXXXXXXX', TMPDIR => 1);
    chmod 0755, $dir;

    my $build = $ENV{TEST_NGINX_BUILD} || "$checkout/build";

    my $t = bless {
        arg     => \%arg,
        dir     => $dir,
        build   => $build,
        binary  => $ENV{TEST_NGINX_BINARY} || '/usr/sbin/nginx',
        module  => $ENV{TEST_NGINX_RTMP_MODULE}
                   || '/usr/lib/nginx/modules/ngx_rtmp_module.so',
        http    => free_port(),
        rtmp    => free_port(),
        allowed => [],
        seen    => {},
        env     => {
            ASAN_OPTIONS  => "log_path=$dir/sanitizer:detect_leaks=0:"
                             . 'detect_odr_violation=0',
            UBSAN_OPTIONS => "log_path=$dir/sanitizer:print_stacktrace=1:"
                             . "suppressions=$checkout/t/ubsan.supp",
            TSAN_OPTIONS  => "log_path=$dir/sanitizer",
            %{ $arg{env} // {} },
        },
    }, $class;

    $t->{https} = free_port() if $arg{tls};

    # owned by the workers' user, as a package would make it
    mkdir "$dir/data";
    chown +(getpwnam 'nobody')[2, 3], "$dir/data" if $> == 0;

    # sanitizers write their reports beside the log, as whoever they are
    chmod 0777, $dir;

    make_certificate($dir) if $arg{tls};
    write_file("$dir/nginx.conf", $t->conf);

    push @instances, $t;
    return $t;
}


sub make_certificate {
    my ($dir) = @_;

    system('openssl req -x509 -newkey rsa:2048 -nodes -days 3'
           . " -subj /CN=localhost -keyout $dir/tls.key -out $dir/tls.crt"
           . ' -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null')
        == 0 or die "openssl could not make a certificate\n";
}


# The suite's load_module lines, but for those that are to be left out.
sub load_modules {
    my ($t) = @_;

    my @lines = split /^/, read_file("$t->{build}/modules.conf");

    die "$t->{build}/modules.conf is not there: make first\n" unless @lines;

    for my $name (@{ $t->{arg}{without} // [] }) {
        @lines = grep { !/\Q$name.so\E/ } @lines;
    }

    return join '', "load_module $t->{module};\n", @lines;
}


sub conf {
    my ($t) = @_;

    my %a = (map({ $_ => '' } qw(main livestream rtmp application http server
                                 streams api locations)),
             workers => 2, %{ $t->{arg} });

    my $modules = $t->load_modules;
    my $tls = $a{tls} ? "listen 127.0.0.1:%%HTTPS%% ssl http2;
            ssl_certificate tls.crt;
            ssl_certificate_key tls.key;" : '';
    my $streams = $modules =~ /ngx_livestream_llhls/
        ? "location /streams/ { livestream_llhls; $a{streams} }" : '';
    my $api = $modules =~ /ngx_livestream_api/
        ? "location /api/v1/ { livestream_api; $a{api} }" : '';

    my $text = $a{conf} // <<"END";
%%MODULES%%
daemon            off;
worker_processes  $a{workers};
error_log         error.log info;
pid               nginx.pid;
$a{main}

events {
    worker_connections  8192;
}

livestream {
    root         %%DIR%%/data/media;
    store        sqlite:%%DIR%%/data/livestream.db;
    publish_url  rtmp://127.0.0.1:%%RTMP%%/live;
    $a{livestream}
}

rtmp {
    access_log  off;
    $a{rtmp}

    server {
        listen       127.0.0.1:%%RTMP%%;
        max_message  16m;

        application live {
            live        on;
            livestream  on;
            $a{application}
        }
    }
}

http {
    access_log             access.log;
    client_body_temp_path  tmp_body;
    proxy_temp_path        tmp_proxy;
    fastcgi_temp_path      tmp_fastcgi;
    uwsgi_temp_path        tmp_uwsgi;
    scgi_temp_path         tmp_scgi;
    sendfile               on;
    tcp_nodelay            on;
    $a{http}

    server {
        listen  127.0.0.1:%%HTTP%%;
        $tls
        $a{server}

        $streams
        $api
        $a{locations}
    }
}
END

    my %value = (
        DIR => $t->{dir}, HTTP => $t->{http}, RTMP => $t->{rtmp},
        HTTPS => $t->{https} // 0, MODULES => $modules,
        CHECKOUT => $checkout,
    );

    $text =~ s/%%(\w+)%%/$value{$1} \/\/ die "%%$1%% means nothing\n"/ge;

    return $text;
}


# ---- life cycle

# Starts nginx and waits until it listens.  Dies with the log if it does not.
sub start {
    my ($t) = @_;

    $t->{pid} = $t->spawn('nginx', $t->{binary}, '-p', $t->{dir}, '-c',
                          "$t->{dir}/nginx.conf", '-e',
                          "$t->{dir}/error.log");

    my $up = wait_for {
        return -1 if defined reap($t->{pid});
        IO::Socket::INET->new(PeerAddr => "127.0.0.1:$t->{http}")
            && ($t->{arg}{conf}
                || $t->workers >= ($t->{arg}{workers} // 2));
    } 20;

    return $t if $up && $up ne '-1';

    diag(read_file("$t->{dir}/nginx.log"), $t->log);
    die "nginx did not start\n";
}


# "nginx -t" on the configuration: (exit status, what it said).
sub test_conf {
    my ($t) = @_;

    my $out = "$t->{dir}/test.log";
    unlink $out;

    my $pid = $t->spawn('test', $t->{binary}, '-t', '-p', $t->{dir}, '-c',
                        "$t->{dir}/nginx.conf", '-e', $out);
    my $status = reap($pid, 20) // die "nginx -t hangs\n";

    return ($status >> 8, read_file($out));
}


sub master { $_[0]{pid} }


# The workers that are not shutting down; with "all", those too.
sub workers {
    my ($t, $all) = @_;

    return grep {
        my $title = read_file("/proc/$_/cmdline");
        $title =~ /worker process/
            and $all || $title !~ /shutting down/;
    } children_of($t->{pid});
}


# Reloads, and waits until the new workers are there and the old ones accept
# no more connections: nginx lets both do so for 100 ms.  Old ones that hold a
# publisher go on.
sub reload {
    my ($t) = @_;

    my %old = map { $_ => 1 } $t->workers('all');

    kill HUP => $t->{pid};

    return wait_for {
        my @now = $t->workers;
        @now >= ($t->{arg}{workers} // 2) && !grep { $old{$_} } @now;
    } 20;
}


# Asks for a graceful exit and returns at once; await it with ended().
sub quit { kill QUIT => $_[0]{pid} }

# Has nginx, with all of its workers, ended within $seconds?
sub ended {
    my ($t, $seconds) = @_;

    $t->remember;
    reap($t->{pid}, $seconds // 20);

    return wait_for {
        !alive($t->{pid}) && !grep { alive($_) } keys %{ $t->{seen} };
    } $seconds // 20;
}


# all the workers there ever were, to see that they go
sub remember {
    my ($t) = @_;

    $t->{seen}{$_} = 1 for $t->workers('all');
}


# kill -9 of the master and a new start.
sub restart_hard {
    my ($t) = @_;

    $t->remember;
    kill KILL => $t->{pid};

    $t->ended(20) or die "workers did not stop after their master\n";
    $t->start;
}


# Stops everything and checks what it left.
sub stop {
    my ($t, $signal) = @_;

    return if $t->{stopped}++;

    $_->stop for @{ $t->{publishers} // [] };

    $t->remember;
    kill $signal // 'QUIT', $t->{pid} if $children{ $t->{pid} };

    # a client that still waits may hold a graceful exit
    unless ($t->ended($signal ? 30 : 3)) {
        kill 'TERM', $t->{pid};
    }

    ok($t->ended(30), 'nginx stops and leaves no process')
        or $t->kill_all;

    is(join('', $t->alarms), '', 'no alert and no sanitizer report');
}


# Lines of the log that no test may leave behind.
sub alarms {
    my ($t) = @_;

    my @lines = grep { /\[(?:alert|emerg)\]|Sanitizer|runtime error:/ }
                split /^/, $t->log;

    push @lines, map { read_file($_) } glob "$t->{dir}/sanitizer*";

    for my $allowed (@{ $t->{allowed} }) {
        @lines = grep { $_ !~ $allowed } @lines;
    }

    return @lines;
}


sub allow { push @{ $_[0]{allowed} }, $_[1] }

sub log { read_file("$_[0]{dir}/error.log") }

sub log_like {
    my ($t, $re, $seconds) = @_;

    return wait_for { $t->log =~ $re } $seconds // 5;
}


sub kill_all {
    my ($t) = @_;

    for my $pid (keys %{ $t->{seen} }) {
        my $title = read_file("/proc/$pid/cmdline");
        kill KILL => $pid if $title =~ /^nginx: /;
    }
}


END {
    if ($$ == $owner) {
        my $status = $?;

        $_->remember for grep { $_->{pid} && $children{ $_->{pid} } }
                         @instances;
        kill KILL => keys %children;
        reap($_, 5) for keys %children;

        for my $t (@instances) {
            $t->kill_all unless $t->{stopped};

            if (!$t->{stopped} && (my @lines = $t->alarms)) {
                diag(@lines);
                $status ||= 1;
            }

            if ($ENV{TEST_NGINX_LEAVE}) {
                diag("left: $t->{dir}");
            } else {
                remove_tree($t->{dir});
            }
        }

        $? = $status;
    }
}


# ---- streams and their store

# Rows as hashes.
sub sql {
    my ($t, $statement) = @_;

    open my $fh, '-|', 'sqlite3', '-json', '-cmd', '.timeout 5000',
        "$t->{dir}/data/livestream.db", $statement or die "sqlite3: $!\n";

    local $/;
    my $text = <$fh> // '';
    close $fh or die "sqlite3 failed on: $statement\n";

    return $text =~ /\S/ ? @{ decode_json($text) } : ();
}


# A call of the API: (status, decoded body or undef, response).
sub api {
    my ($t, $method, $path, $body) = @_;

    my %header = defined $body ? ('Content-Type' => 'application/json') : ();
    my $text = ref $body ? JSON::PP->new->utf8->encode($body) : $body;

    my $r = $t->request($method, "/api/v1$path", headers => \%header,
                        body => $text);
    my $json = eval { decode_json($r->{body}) };

    return ($r->{status}, $json, $r);
}


# Makes a stream and returns it with its key: through the API, or where that
# module is left out, in the store.
sub create {
    my ($t, %field) = @_;

    $field{title} //= 'A test';
    $field{user_id} //= 'tester';
    $field{low_latency} //= JSON_TRUE;

    return $t->insert(%field)
        unless $t->load_modules =~ /ngx_livestream_api/;

    my ($status, $stream, $r) = $t->api(POST => '/livestreams', \%field);

    $status == 201
        or die "could not create a stream: $status $r->{body}\n";

    return $stream;
}


sub insert {
    my ($t, %field) = @_;

    my $hex = join '', map { sprintf '%04x', rand 65536 } 1 .. 8;

    $field{id} = $hex =~ s/^(.{8})(....)(....)(....)/$1-$2-$3-$4-/r;
    $field{stream_key} //= "sk_$hex";
    $field{rtmp_ingest_url}
        = "rtmp://127.0.0.1:$t->{rtmp}/live/$field{stream_key}";
    $field{low_latency} = $field{low_latency} ? 1 : 0;
    $field{settings} = JSON::PP->new->encode($field{settings} // {});

    my @names = sort keys %field;
    my @values = map { s/'/''/gr } @field{@names};

    $t->sql('INSERT INTO live_streams (' . join(', ', @names)
            . ") VALUES ('" . join("', '", @values) . "')");

    return \%field;
}


sub publish {
    my ($t, $stream, %option) = @_;

    my $p = Livestream::Test::Publisher->start($t, $stream, %option);

    push @{ $t->{publishers} }, $p;
    return $p;
}


sub publish_fast {
    my ($t, $stream, %option) = @_;

    require Livestream::Bench;
    $t->{bench} //= Livestream::Bench->new($t);

    return $t->{bench}->ahead($stream, %option);
}


# ---- HTTP

sub client {
    my ($t, %option) = @_;

    return Livestream::Test::HTTP->new(
        port => $option{tls} ? $t->{https} : $t->{http}, %option);
}


sub request {
    my ($t, $method, $path, %option) = @_;

    return $t->client(%option)->request($method, $path, %option);
}


sub get {
    my ($t, $path, %option) = @_;

    return $t->request(GET => $path, %option);
}


# ---- playlists

sub id { ref $_[0] ? $_[0]{id} : $_[0] }


sub path {
    my ($t, $stream, @parts) = @_;

    return join '/', '/streams', id($stream), @parts;
}


sub url {
    my ($t, $stream, @parts) = @_;

    return "http://127.0.0.1:$t->{http}" . $t->path($stream, @parts);
}


# A media playlist, parsed; undef unless the answer is 200.  The response
# itself is in {response}.
sub playlist {
    my ($t, $stream, $track, $query, %option) = @_;

    my $path = $t->path($stream, $track // 'source', 'playlist.m3u8');
    my $r = $t->get(defined $query ? "$path?$query" : $path, %option);

    return undef unless $r->{status} == 200;
    return Livestream::Test::M3U8->parse($r->content, $r);
}


sub master_playlist {
    my ($t, $stream, %option) = @_;

    my $r = $t->get($t->path($stream, 'master.m3u8'), %option);

    return undef unless $r->{status} == 200;
    return Livestream::Test::M3U8->parse($r->content, $r);
}


# The first media playlist that a viewer gets.
sub wait_live {
    my ($t, $stream, $track, $seconds) = @_;

    return wait_for { $t->playlist($stream, $track) } $seconds // 15;
}


1;
