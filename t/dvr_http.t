# What HTTP clients, players and caches ask of a recording: its playlists, its
# media, its pictures, and the videos that were made of it.

use Livestream::Test;
use Livestream::Test::Browser;
use Livestream::Test::M3U8;
use Livestream::Test::Recording;

my $t = Livestream::Test->new(
    livestream => 'dvr on; segment_duration 1s;',
    tls        => 1,
    locations  => '
        location /cached/ {
            livestream_llhls;
            open_file_cache        max=100;
            open_file_cache_valid  60s;
        }
        location /direct/  { livestream_llhls; sendfile off; directio 1k; }
        location /threads/ { livestream_llhls; aio threads; directio 1k; }
        location /nolinks/ { livestream_llhls; disable_symlinks on; }');
$t->start;

my $rec = Livestream::Test::Recording->make($t);

my $master = $rec->path('master.m3u8');
my $playlist = $rec->path('source', 'playlist.m3u8');
my $init = $rec->path('source', 'init-0.mp4');
my $segment = $rec->path('source', 'segment-1.m4s');
my $video = $rec->video_path;

# URL => its file and type
my $hls = 'application/vnd.apple.mpegurl';
my %files = (
    $master   => ["$rec->{dir}/master.m3u8", $hls],
    $playlist => ["$rec->{dir}/source/playlist.m3u8", $hls],
    $init     => ["$rec->{dir}/source/init-0.mp4", 'video/mp4'],
    $segment  => ["$rec->{dir}/source/segment-1.m4s", 'video/mp4'],
    $video    => ["$rec->{root}/videos/$rec->{video}.mp4", 'video/mp4'],
    $rec->path('audio', 'init-0.mp4')
              => ["$rec->{dir}/audio/init-0.mp4", 'audio/mp4'],
    $rec->path('audio', 'segment-5.m4s')
              => ["$rec->{dir}/audio/segment-5.m4s", 'audio/mp4'],
    $rec->path('audio', 'playlist.m3u8')
              => ["$rec->{dir}/audio/playlist.m3u8", $hls],
    $rec->path('poster.jpg') => ["$rec->{dir}/poster.jpg", 'image/jpeg'],
    $rec->path('storyboard.vtt')
              => ["$rec->{dir}/storyboard.vtt", 'text/vtt'],
    $rec->path('storyboard-0.jpg')
              => ["$rec->{dir}/storyboard-0.jpg", 'image/jpeg'],
);


subtest 'files' => sub {
    for my $path (sort keys %files) {
        my ($file, $type) = @{ $files{$path} };
        my $bytes = Livestream::Test::read_file($file);
        my $c = $t->client;
        my $r = $c->request(GET => $path);
        my $head = $c->request(HEAD => $path);

        is($r->{status}, 200, $path);
        ok($r->{body} eq $bytes, 'is what the file has');
        is($r->header('content-length'), length $bytes, 'of that length');
        is($r->header('content-type'), $type, $type);
        is($r->header('content-disposition'), undef, 'to be played');
        is($head->{status}, 200, 'HEAD');
        is($head->header($_), $r->header($_), $_)
            for qw(content-length content-type etag cache-control);

        ok($t->get($path =~ s/streams/$_/r)->{body} eq $bytes, "$_ likewise")
            for qw(cached direct threads nolinks);
    }
};

subtest 'methods and CORS' => sub {
    my $r = $t->request(OPTIONS => $segment, headers => {
        Origin => 'https://example.org',
        'Access-Control-Request-Method' => 'GET',
        'Access-Control-Request-Headers' => 'range' });

    is($r->{status}, 204, 'a preflight');
    like($r->header('access-control-allow-headers'), qr/Range/, 'headers');

    is($t->request($_ => $master, body => 'x')->{status}, 405, $_)
        for qw(POST PUT DELETE);

    for my $path (sort(keys %files), $rec->path('nothing'),
                  $rec->path('source', 'segment-99.m4s'))
    {
        my $r = $t->get($path, headers => { Origin => 'https://a.example' });
        is($r->header('access-control-allow-origin'), '*',
           "$r->{status} $path");
        like($r->header('access-control-expose-headers'), qr/Content-Range/,
             'exposes what a player reads');
    }
};

subtest 'gzip' => sub {
    for my $path ($master, $playlist) {
        my ($file) = @{ $files{$path} };
        my $plain = Livestream::Test::read_file($file);
        my $twin = Livestream::Test::read_file("$file.gz");

        for my $method (qw(GET HEAD)) {
            my $r = $t->request($method => $path, headers => {
                'Accept-Encoding' => 'gzip, deflate, br' });

            is($r->header('content-encoding'), 'gzip', "$method $path");
            is($r->header('vary'), 'Accept-Encoding', 'Vary');
            is($r->header('content-length'), length $twin, 'of its length');
            is($r->header('content-type'), $hls, 'and type');
            ok($r->{body} eq ($method eq 'GET' ? $twin : ''),
               'the file beside it');
        }

        for my $no ('gzip;q=0', 'identity', undef) {
            my $r = $t->get($path, headers => {
                defined $no ? ('Accept-Encoding' => $no) : () });
            is($r->header('content-encoding'), undef,
               'plain for ' . ($no // 'nothing'));
            is($r->header('vary'), 'Accept-Encoding', 'Vary');
        }

        rename "$file.gz", "$file.away";
        my $r = $t->get($path, headers => { 'Accept-Encoding' => 'gzip' });
        is($r->{status}, 200, 'where there is no gzip');
        is($r->header('content-encoding'), undef, 'it is sent plain');
        ok($r->{body} eq $plain, 'as it is');
        rename "$file.away", "$file.gz";
    }

    my $r = $t->get($segment, headers => { 'Accept-Encoding' => 'gzip' });
    is($r->header('content-encoding'), undef, 'media is not compressed');
    is($r->header('vary'), undef, 'and does not vary');
};

subtest 'ranges' => sub {
    for my $path ($video, $segment, $init, $rec->path('storyboard-0.jpg')) {
        my $whole = Livestream::Test::read_file($files{$path}[0]);
        my $size = length $whole;
        my $c = $t->client;
        my $get = sub {
            $c->request(GET => $path, headers => { Range => "bytes=$_[0]" });
        };

        is($c->request(GET => $path)->header('accept-ranges'), 'bytes',
           $path);

        for ([0, 0], [1, 99], [$size - 1, $size - 1]) {
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
        is($get->("$size-")->{status}, 416, 'beyond the end');

        my $r = $t->request(HEAD => $path, headers => {
            Range => 'bytes=0-9' });
        is($r->{status}, 206, 'HEAD of a range');
        is($r->header('content-length'), 10, 'has its length');
    }
};

subtest 'caching' => sub {
    my $plain = $t->get($master);
    my $gzip = $t->get($master, headers => { 'Accept-Encoding' => 'gzip' });

    isnt($plain->header('etag'), $gzip->header('etag'),
         'a playlist and its gzip are two');

    for my $path (sort keys %files) {
        my $r = $t->get($path);
        my $age = $path =~ /m3u8$/ ? 60 : 3600;

        is($r->header('cache-control'), "max-age=$age", $path);

        for (['If-None-Match', 'etag'], ['If-Modified-Since',
                                         'last-modified'])
        {
            my ($ask, $by) = @$_;
            my $again = $t->get($path, headers => { $ask => $r->header($by) });

            is($again->{status}, 304, $ask);
            is($again->header('access-control-allow-origin'), '*',
               'which a browser may see');
            is($again->header('cache-control'), "max-age=$age",
               'and keep as long again');
        }

        $r = $t->get($path, headers => { 'If-None-Match' => '"other"' });
        is($r->{status}, 200, 'another one');
    }

    is($t->get($rec->path('source', 'segment-99.m4s'))
       ->header('cache-control'), 'max-age=1', 'what is not there');
};

subtest 'what is not there' => sub {
    my $other = Livestream::Test::Recording::uuid();
    my %why = (
        $rec->path('source', 'segment-99.m4s') => 'no such media',
        $rec->path('source', 'init-1.mp4') => 'no such media',
        $rec->path('720p', 'playlist.m3u8') => 'no such track',
        $rec->path('storyboard-1.jpg') => 'no such picture',
        "/streams/$rec->{id}/recordings/$other/master.m3u8"
            => 'no such recording',
        "/streams/$rec->{id}/recordings/$other/source/segment-1.m4s"
            => 'no such recording',
        "/streams/$other/recordings/$rec->{rid}/master.m3u8"
            => 'no such recording',
        "/streams/$rec->{id}/videos/$other.mp4" => 'no such video',
        "/streams/$other/videos/$rec->{video}.mp4" => 'no such video',
    );

    for my $path (sort keys %why) {
        my $r = $t->get($path);
        is($r->{status}, 404, $path);
        like($r->{body}, qr/\Q$why{$path}/, $why{$path});
    }

    mkdir "$rec->{dir}/source/segment-77.m4s";
    is($t->get($rec->path('source', 'segment-77.m4s'))->{status}, 404,
       'a folder is no segment');
};

subtest 'paths that are none' => sub {
    my $id = $rec->{id};
    my $rid = $rec->{rid};
    my @bad = (map({ $rec->path($_) } '', 'index', 'master.m3u8.gz',
                  'master.m3u8/', 'source', 'source/', 'source/x',
                  'source/playlist.m3u8.gz', 'source/part-1.0.m4s',
                  'source/segment-01.m4s', 'source/segment-+1.m4s',
                  'source/segment-1.m4s%00', 'source/segment-1%00.m4s',
                  'source%2fsegment-1.m4s%2f', 'poster.jpg%0a',
                  'source/..%2f..%2f..%2f..%2flivestream.db',
                  '%2e%2e/%2e%2e/%2e%2e/livestream.db',
                  '%2e%2e%2f%2e%2e', '%2e/index', 'x' x 3000,
                  'source/segment-' . '1' x 3000 . '.m4s',
                  ('x' x 300) . '/playlist.m3u8'),
              map({ "/streams/$id/$_" } 'recordings', 'recordings/',
                  "recordings/$rid", "recordings/$rid.gz",
                  'recordings/../../livestream.db',
                  'recordings/' . uc($rid) . '/master.m3u8',
                  'recordings/' . $rid =~ tr/-/_/r . '/master.m3u8',
                  "recordings/${rid}a/master.m3u8",
                  "recordings/videos/$rec->{video}.mp4",
                  "recordings/$rid/videos/$rec->{video}.mp4",
                  'videos', 'videos/', "videos/$rec->{video}",
                  "videos/$rec->{video}.mp4/", "videos/$rec->{video}.mp4.tmp",
                  'videos/' . uc($rec->{video}) . '.mp4',
                  "videos/..%2f$rid%2findex",
                  "videos/../$rid/index", "$rid/master.m3u8",
                  "$rid/source/segment-1.m4s"),
              '/streams/' . uc($id) . "/recordings/$rid/master.m3u8",
              "/streams/recordings/$id/$rid/master.m3u8",
              "/streams/..%2f$id/recordings/$rid/master.m3u8");

    for my $path (@bad) {
        my $r = $t->get($path);

        # what nginx itself refuses never comes to a location
        like($r->{status}, qr/^40[04]$/,
             length $path > 120 ? substr($path, 0, 120) . '...' : $path);
        unlike($r->{body}, qr/livestream-recording|SQLite/, 'and nothing');
    }

    is($t->get($rec->path('.', 'poster.jpg'))->{status}, 200,
       'what nginx makes plain is plain');
    is($t->get("/streams//$id//recordings/$rid/source/../master.m3u8")
       ->{status}, 200, 'slashes and dots likewise');
};

subtest 'symbolic links' => sub {
    my $link = $rec->path('source', 'segment-50.m4s');

    symlink '/etc/passwd', "$rec->{dir}/source/segment-50.m4s" or die $!;

    is($t->get($link)->{status}, 200, 'are followed as nginx does');
    is($t->get($link =~ s/streams/nolinks/r)->{status}, 403,
       'but for disable_symlinks');

    unlink "$rec->{dir}/source/segment-50.m4s";
};

subtest 'HTTP/2' => sub {
    my $urls = join ' ', map { "'https://127.0.0.1:$t->{https}$_'" }
               $master, $segment, $video;
    my $text = `nghttp -nv $urls 2>&1`;
    my @status = $text =~ /:status: (\d+)/g;

    is_deeply(\@status, [(200) x 3], 'all of it') or diag($text);
    like($text, qr/priority: u=1/, 'playlists first');
};

my $url = "http://127.0.0.1:$t->{http}";

subtest 'ffmpeg plays it' => sub {
    for my $source ($master, $video) {
        my $text = `ffprobe -v error -count_frames -show_entries \\
                    stream=codec_type,nb_read_frames -of csv=p=0 \\
                    '$url$source' 2>&1`;

        like($text, qr/^video,300$/m, "$source: every picture");
        like($text, qr/^audio,5\d\d/m, 'and the sound');
        unlike($text, qr/error|invalid/i, 'without a complaint');
    }
};

subtest 'hls.js plays it, and a browser its video' => sub {
    my $b = Livestream::Test::Browser->start($t);

    $b->play("$url$master");
    ok($b->started, 'it plays') or diag($b->why);
    $b->eval('document.querySelector("video").currentTime = 9');
    ok($b->wait('player.report().ended', 20), 'from a seek to its end')
        or diag($b->why);

    # a seek aborts what is being loaded, and a busy machine stalls
    is_deeply([grep { $_->{fatal} || defined $_->{code} }
               @{ $b->report->{errors} }], [], 'without an error')
        or diag($b->why);
    is_deeply($b->messages, [], 'and nothing was refused, CORS included');

    $b->eval("(() => { const v = document.createElement('video');
               v.muted = true; v.id = 'mp4'; v.crossOrigin = 'anonymous';
               v.src = '$url$video'; document.body.append(v);
               v.onloadedmetadata = () => { v.currentTime = 10; v.play(); };
               })()");
    ok($b->wait('document.querySelector("#mp4").ended', 20),
       'the video plays to its end, from a seek');
    cmp_ok(abs($b->eval('document.querySelector("#mp4").duration') - 12),
           '<', 0.1, 'and is as long as the recording');

    $b->stop;
};

subtest 'a recording that is not finished, or is deleted' => sub {
    rename "$rec->{dir}/master.m3u8", "$rec->{dir}/away" or die $!;

    for my $path (sort grep { $_ ne $video } keys %files) {
        my $r = $t->get($path, headers => { 'Accept-Encoding' => 'gzip' });
        is($r->{status}, 404, $path);
        like($r->{body}, qr/no such recording/, 'and why');
    }

    is($t->get($video)->{status}, 200, 'its video is still there');

    rename "$rec->{dir}/away", "$rec->{dir}/master.m3u8" or die $!;
    is($t->get($segment)->{status}, 200, 'finished');
};

subtest 'what is live is sent from where it is recorded' => sub {
    my $s = $t->create;
    my $p = $t->publish($s, gop => 1);

    ok($t->wait_live($s), 'is live') or diag($p->output);

    my $m = $t->playlist($s, 'source');
    my $segment = $m->{segments}[0];
    my ($dir) = glob "$t->{dir}/data/media/recordings/$s->{id}/*";
    my $file = Livestream::Test::read_file("$dir/source/$segment->{uri}");

    ok(length $file, 'there is a file among the recordings');
    ok($t->get($t->path($s, 'source', $segment->{uri}))->{body} eq $file,
       'which is what viewers get');
    is($t->get($t->path($s, 'source', $_))->{status}, 200, $_)
        for $segment->{map}{URI}, $m->{segments}[-1]{parts}[0]{URI};

    my $rid = $dir =~ s{.*/}{}r;
    my $r = $t->get("/streams/$s->{id}/recordings/$rid/source/segment-0.m4s");

    is($r->{status}, 404, 'under its own URL it is not there yet');
    like($r->{body}, qr/no such recording/, 'and why');

    unlink "$dir/source/$segment->{uri}";
    $r = $t->get($t->path($s, 'source', $segment->{uri}));

    is($r->{status}, 404, 'a file that has gone, without a storage');
    like($r->{body}, qr/no such media/, 'and why');
};

$t->stop;
done_testing();
