# Delivery that HTTP clients, browsers and caches trip over: methods, ranges,
# compression, CORS, caching, paths, connections, TLS and HTTP/2.

use Livestream::Test;
use Livestream::Test::M3U8;

my $t = Livestream::Test->new(
    livestream => 'part_duration 500ms; segment_duration 2s;',
    tls        => 1,
    http       => 'http2_push_preload on;',
    locations  => '
        location /plain { livestream_llhls; }
        location /pushed/ { livestream_llhls; livestream_llhls_push on; }
        location /within/ {
            livestream_llhls;
            limit_except GET { deny all; }
            if ($arg_forbidden) { return 403; }
            if ($arg_header) { add_header X-Header $arg_header; }
        }
        location /cached/ {
            livestream_llhls;
            open_file_cache        max=100;
            open_file_cache_valid  60s;
            open_file_cache_errors on;
        }
        location /direct/  { livestream_llhls; sendfile off; directio 1k; }
        location /copied/  { livestream_llhls; sendfile off; }
        location /threads/ { livestream_llhls; aio threads; directio 1k; }
        location /rewritten/ { rewrite ^ /streams/nothing break;
                               livestream_llhls; }');
$t->start;

my $s = $t->create(title => 'Over HTTP');
my $p = $t->publish($s, gop => 1);

ok($t->wait_live($s), 'is live') or diag($p->output);

my ($master, $path, $audio) = map { $t->path($s, @$_) }
    ['master.m3u8'], ['source', 'playlist.m3u8'], ['audio', 'playlist.m3u8'];

sub edge { $t->playlist($s) // die "no playlist\n" }

my $m = edge();
my $target = $m->{target};
my ($init, $segment, $part) = map { $t->path($s, 'source', $_) }
    $m->{segments}[0]{map}{URI}, $m->{segments}[0]{uri},
    $m->{segments}[-1]{parts}[0]{URI};


subtest 'types' => sub {
    my %type = (
        $master => 'application/vnd.apple.mpegurl',
        $path => 'application/vnd.apple.mpegurl',
        (map { $_ => 'video/mp4' } $init, $segment, $part),
        (map { (s/source/audio/r) => 'audio/mp4' } $init, $segment, $part),
    );

    for my $path (sort keys %type) {
        my $r = $t->get($path);
        is($r->{status}, 200, $path);
        is($r->header('content-type'), $type{$path}, "is $type{$path}");
        is(length $r->{body}, $r->header('content-length'), 'of its length');
    }
};

subtest 'methods' => sub {
    for my $path ($master, $path, $init, $segment, $part) {
        my $c = $t->client;
        my $head = $c->request(HEAD => $path);
        my $get = $c->request(GET => $path);

        is($head->{status}, 200, "HEAD $path");
        ok($head->header('content-length') > 0, 'has a length');
        is($head->header('content-type'), $get->header('content-type'),
           'and a type');
        is($head->header('content-length'), $get->header('content-length'),
           'which are those of GET') if $path !~ /playlist/;
    }

    for my $method (qw(POST PUT DELETE PATCH)) {
        my $c = $t->client;
        my $r = $c->request($method => $path, body => 'x' x 100);
        is($r->{status}, 405, $method);
        is($r->header('allow'), 'GET, HEAD, OPTIONS', 'Allow');
        is($c->request(GET => $master)->{status}, 200,
           'its body is not the next request');
    }

    my $r = $t->get($path, body => 'a body' x 1000);
    is($r->{status}, 200, 'GET with a body');
};

subtest 'CORS' => sub {
    my $r = $t->request(OPTIONS => $part, headers => {
        Origin => 'https://example.org',
        'Access-Control-Request-Method' => 'GET',
        'Access-Control-Request-Headers' => 'range' });

    is($r->{status}, 204, 'a preflight');
    is($r->header('access-control-allow-origin'), '*', 'any origin');
    like($r->header('access-control-allow-methods'), qr/GET.*HEAD/, 'methods');
    like($r->header('access-control-allow-headers'), qr/Range/, 'headers');
    like($r->header('access-control-max-age'), qr/^\d+$/, 'for some time');

    for my $path ($master, $path, $part, "$path?_HLS_part=1",
                  "$path?_HLS_msn=99999", $t->path($s, 'nothing'),
                  $t->path($s, 'source', 'segment-99999.m4s'),
                  $t->path('unknown', 'master.m3u8'))
    {
        my $r = $t->get($path, headers => { Origin => 'https://a.example' });
        is($r->header('access-control-allow-origin'), '*',
           "$r->{status} $path");
        like($r->header('access-control-expose-headers'), qr/Content-Range/,
             'exposes what a player reads');
    }
};

subtest 'DD-20: gzip' => sub {
    for my $path ($master, $path, "$path?_HLS_skip=YES") {
        my $c = $t->client;
        my $r = $c->request(GET => $path, headers => {
            'Accept-Encoding' => 'gzip, deflate, br' });

        is($r->header('content-encoding'), 'gzip', "gzip $path");
        like($r->header('vary'), qr/Accept-Encoding/, 'Vary');
        is(length $r->{body}, $r->header('content-length'), 'Content-Length');
        like($r->content, qr/\A#EXTM3U\n/, 'unpacks to a playlist');

        $r = $c->request(HEAD => $path, headers => {
            'Accept-Encoding' => 'gzip' });
        is($r->header('content-encoding'), 'gzip', 'HEAD likewise');

        for my $no ('gzip;q=0', 'identity', 'br', undef) {
            $r = $c->request(GET => $path, headers => {
                defined $no ? ('Accept-Encoding' => $no) : () });
            is($r->header('content-encoding'), undef,
               'plain for ' . ($no // 'nothing'));
            like($r->header('vary'), qr/Accept-Encoding/, 'Vary');
        }
    }

    my $r = $t->get($part, headers => { 'Accept-Encoding' => 'gzip' });
    is($r->header('content-encoding'), undef, 'media is not compressed');
};

subtest 'DD-18: ranges' => sub {
    for my $path ($init, $segment, $part) {
        my $whole = $t->get($path)->{body};
        my $size = length $whole;
        my $c = $t->client;

        my $get = sub {
            $c->request(GET => $path, headers => { Range => "bytes=$_[0]" });
        };

        is($c->request(GET => $path)->header('accept-ranges'), 'bytes',
           $path);

        my @ranges = ([0, 0], [0, 99], [10, 19], [$size - 1, $size - 1]);

        for (@ranges) {
            my ($from, $to) = @$_;
            my $r = $get->("$from-$to");
            is($r->{status}, 206, "$from-$to");
            is($r->header('content-range'), "bytes $from-$to/$size",
               'Content-Range');
            ok($r->{body} eq substr($whole, $from, $to - $from + 1),
               'the right bytes');
        }

        ok($get->('20-')->{body} eq substr($whole, 20), 'to the end');
        ok($get->('-7')->{body} eq substr($whole, -7), 'the last ones');
        ok($get->('0-9007199254740991')->{body} eq $whole,
           'to the greatest number there is');
        is($get->("$size-")->{status}, 416, 'beyond the end');
        is($get->("$size-")->header('content-range'), "bytes */$size",
           'which says where that is');

        my $r = $get->('0-3,10-12');
        my ($boundary) = $r->header('content-type') =~ /boundary=(\S+)/;
        my @parts = split /\r\n--\Q$boundary\E(?:--)?\r\n/, $r->{body};
        is($r->{status}, 206, 'two ranges');
        is($parts[1] =~ s/.*?\r\n\r\n//sr, substr($whole, 0, 4), 'the first');
        is($parts[2] =~ s/.*?\r\n\r\n//sr, substr($whole, 10, 3), 'the other');
    }

    my $r = $t->get($segment);
    my $again = $t->get($segment, headers => {
        'If-None-Match' => $r->header('etag') });
    is($again->{status}, 304, 'a segment that has not changed');
};

subtest 'a part is its bytes of the segment' => sub {
    my $m = edge();
    my ($seg) = grep { @{ $_->{parts} } > 1 } reverse @{ $m->{segments} };

    my $whole = $t->get($t->path($s, 'source', $seg->{uri}))->{body};
    my $parts = join '', map { $t->get($t->path($s, 'source', $_->{URI}))
                               ->{body} } @{ $seg->{parts} };

    is(length $parts, length $whole, 'all parts are as long as the segment');
    ok($parts eq $whole, 'and the same');
};

subtest 'DD-25: caching' => sub {
    my $age = sub { $_[0]->header('cache-control') =~ /^max-age=(\d+)$/; $1 };
    my $m = edge();
    my $query = "_HLS_msn=$m->{open}{msn}";

    is($age->($t->get($path)), $target / 2, 'a playlist');
    is($age->($t->get($master)), $target / 2, 'the multivariant playlist');
    is($age->($t->get("$path?_HLS_msn=0")), 6 * $target,
       'a playlist that was waited for');
    is($age->($t->get("$path?_HLS_msn=99999")), 4 * $target,
       'one that never will be');
    is($age->($t->get($t->path($s, 'source', 'segment-99999.m4s'))), $target,
       'media that is not there');
    cmp_ok($age->($t->get($segment)), '>=', 10 * $target, 'a segment');
    cmp_ok($age->($t->get($init)), '>=', 10 * $target, 'an init segment');

    my $r = $t->get($t->path($s, 'source', edge()->{hints}[0]{URI}));
    is($age->($r), 6 * $target, 'a part that was waited for')
        if $r->{status} == 200;
};

subtest 'paths' => sub {
    my @bad = (
        '', 'master', 'master.m3u8/', 'source', 'source/', 'source/x',
        'none/playlist.m3u8', 'source/playlist.m3u8/', 'source//',
        'source/init-99.mp4', 'source/segment-01.m4s',
        'source/segment-+1.m4s', 'source/segment--1.m4s',
        'source/segment-1e0.m4s', 'source/segment-0x1.m4s',
        'source/segment-99999999999999999999.m4s', 'source/segment-1',
        'source/part-0.m4s', 'source/part-0.0.0.m4s', 'source/part-0.00.m4s',
        'source/part-0.4294967296.m4s', 'source/playlist.m3u8%00.m4s',
        'source/..%2fsource/playlist.m3u8x', '%2e%2e/%2e%2e/etc/passwd',
        'source/%2e%2e/%2e%2e/livestream.db', 'source/segment-0.m4s%0a',
        'source/%c0%ae%c0%ae/segment-0.m4s', ('x' x 300) . '/playlist.m3u8',
        'source/' . ('1' x 3000), '../../../../../etc/passwd',
        "source\\..\\segment-0.m4s",
    );

    for my $bad (@bad) {
        my $r = $t->get($t->path($s, $bad));

        # what nginx itself refuses never comes to a location
        like($r->{status}, qr/^(?:404|400)$/,
             length $bad > 60 ? substr($bad, 0, 60) . '...' : $bad);
    }

    is($t->get("/streams/$_")->{status}, 404, "/streams/$_")
        for '', '/', 'master.m3u8', '../streams', "x$s->{id}/master.m3u8",
            "$s->{id}x/master.m3u8", uc("$s->{id}") . '/master.m3u8x',
            "$s->{stream_key}/master.m3u8";

    is($t->get("/streams/$s->{id}/source/%70laylist.m3u8")->{status}, 200,
       'a name that is escaped without need is the same name');
};

subtest 'locations' => sub {
    my $tail = "$s->{id}/source/playlist.m3u8";

    is($t->get("/plain/$tail")->{status}, 200, 'a prefix without its slash');
    is($t->get("/plain$tail")->{status}, 404, 'is not half of a name');
    is($t->get("/within/$tail")->{status}, 200, 'with if and limit_except');
    is($t->get("/within/$tail?forbidden=1")->{status}, 403, 'which work');
    is($t->get("/within/$tail?header=1")->header('x-header'), 1,
       'a location within "if"');
    is($t->request(POST => "/within/$tail")->{status}, 403, 'limit_except');
    is($t->get('/rewritten/x')->{status}, 404, 'a URI from elsewhere');

    for my $path ($init, $segment, $part) {
        my $bytes = $t->get($path)->{body};

        ok($t->get($path =~ s/streams/$_/r)->{body} eq $bytes, "$_ $path")
            for qw(direct copied threads);

        my $r = $t->get($path =~ s/streams/direct/r, headers => {
            Range => 'bytes=600-699' });
        ok($r->{body} eq substr($bytes, 600, 100), 'a range of it');
    }

    for (1 .. 3) {
        my $m = edge();
        my $part = ($m->parts)[-1]{URI};
        is($t->get("/cached/$s->{id}/source/$part")->{status}, 200,
           'a part of a file that grows, past open_file_cache');
    }
};

subtest 'connections' => sub {
    my $m = edge();
    my $c = $t->client;

    $c->send(GET => $_) for $path, "$path?_HLS_msn=$m->{open}{msn}", $init,
                            $part, $master;
    my @r = map { $c->recv } 1 .. 5;
    is_deeply([map { $_->{status} } @r], [(200) x 5],
              'five requests in a pipeline, one of them blocking');
    ok(!$c->closed(0.1), 'the connection stays');

    my @gone = map { $t->client->send(GET =>
                     "$path?_HLS_msn=" . ($m->{open}{msn} + 1)) } 1 .. 20;
    $_->readable(0.01) for @gone;
    $_->close for @gone;

    is($t->get("$path?_HLS_msn=$m->{open}{msn}")->{status}, 200,
       'clients that leave while they wait are not missed');

    my $r = $t->client->raw("GET $path HTTP/1.0\r\n\r\n")->recv;
    is($r->{status}, 200, 'HTTP/1.0');
};

subtest 'TLS' => sub {
    my $m = edge();
    my $c = $t->client(tls => 1);
    my $r = $c->request(GET => "$path?_HLS_msn=$m->{open}{msn}");

    is($r->{status}, 200, 'a blocking reload');

    $r = $c->request(GET => $segment);
    ok($r->{body} eq $t->get($segment)->{body}, 'a segment');
};


# What nghttp(1) says of each stream, by its path: { ':status', 'content-type',
# ..., pushed }.  Headers of a response or a promise come before its frame.
sub nghttp {
    my (@paths) = @_;

    my $urls = join ' ', map { "'https://127.0.0.1:$t->{https}$_'" } @paths;
    my $text = `nghttp -nv $urls 2>&1`;
    my (%stream, %header, $asked, $promise);

    for (split /\n/, $text) {
        if (/send HEADERS frame .*stream_id=(\d+)/) {
            $asked = $1;

        } elsif (/^\s+(:path): (.*)/) {
            $stream{$asked}{$1} = $2;

        } elsif (/recv \(stream_id=(\d+)\) (:?[^:]+): (.*)/) {
            $header{$1}{$2} = $3;

        } elsif (/recv HEADERS frame .*stream_id=(\d+)/) {
            $stream{$1} = { %{ $stream{$1} }, %{ delete $header{$1} } };

        } elsif (/recv PUSH_PROMISE frame .*stream_id=(\d+)/) {
            $promise = $1;

        } elsif (/promised_stream_id=(\d+)/) {
            $stream{$1} = { %{ delete $header{$promise} }, pushed => 1 };
        }
    }

    return ($text, map { $_->{':path'} => $_ } values %stream);
}


subtest 'DD-21: HTTP/2' => sub {
    my $m = edge();
    my ($text, %by) = nghttp("$path?_HLS_msn=$m->{open}{msn}", $master,
                             $segment, $audio);

    for ($master, $segment, $audio, "$path?_HLS_msn=$m->{open}{msn}") {
        is($by{$_}{':status'}, 200, $_) or diag($text);
    }

    is($by{$master}{priority}, 'u=1', 'priority of a playlist');
    is($by{$segment}{priority}, 'u=2', 'priority of a segment');
    ok(!(grep { $_->{pushed} } values %by), 'nothing is pushed');
};

subtest 'the hinted part is pushed' => sub {
    my $pushed = $path =~ s{^/streams/}{/pushed/}r;
    my $r = $t->get($pushed);
    my $hint = Livestream::Test::M3U8->parse($r->{body})->{hints}[0]{URI};
    my $url = $pushed =~ s/playlist.m3u8/$hint/r;

    is($r->header('link'), "<$url>; rel=preload; as=fetch", 'Link');
    is($t->get($path)->header('link'), undef, 'not where it is off');
    is($t->get($pushed =~ s{source/playlist}{master}r)->header('link'), undef,
       'nor with a multivariant playlist');

    my ($major, $minor) = $r->header('server') =~ m{nginx/(\d+)\.(\d+)};

    SKIP: {
        skip "nginx $major.$minor pushes no more", 3
            if $major > 1 || $minor >= 25;

        my ($text, $part);

        wait_for {
            ($text, my %by) = nghttp($pushed);
            ($part) = grep { $_->{pushed} } values %by;
            $part && ($part->{':status'} // 0) == 200;
        };

        is($part->{':status'}, 200, 'it came') or diag($text);
        like($part->{':path'}, qr{^/pushed/.*/part-\d+\.\d+\.m4s$},
             'as a part');
        is($part->{'content-type'}, 'video/mp4', 'of video');
    }
};

subtest 'what the configuration refuses' => sub {
    my %wrong = (
        'location ~ ^/x { livestream_llhls; }' => qr/regular expression/,
        'location @x { livestream_llhls; }' => qr/named location/,
        'location /x { livestream_llhls; livestream_llhls; }'
            => qr/duplicate/,
        'location /x { livestream_llhls on; }' => qr/number of arguments/,
    );

    for my $location (sort keys %wrong) {
        my $other = Livestream::Test->new(locations => $location);
        my ($status, $log) = $other->test_conf;
        isnt($status, 0, $location);
        like($log, $wrong{$location}, 'with the reason');
        $other->{stopped} = 1;
    }

    my $other = Livestream::Test->new(conf => '%%MODULES%%
        pid        nginx.pid;
        error_log  error.log;

        events { }

        http {
            access_log             access.log;
            client_body_temp_path  tmp_body;
            proxy_temp_path        tmp_proxy;
            fastcgi_temp_path      tmp_fastcgi;
            uwsgi_temp_path        tmp_uwsgi;
            scgi_temp_path         tmp_scgi;

            server {
                listen  127.0.0.1:%%HTTP%%;
                location / { livestream_llhls; }
            }
        }');
    my ($status, $log) = $other->test_conf;
    $log .= $other->log;
    isnt($status, 0, 'without livestream{}');
    like($log, qr/needs a "livestream" block/, 'with the reason');
    $other->{stopped} = 1;
};

$t->stop;
done_testing();
