# Recordings whose media are in a bucket only: viewers are sent there, or nginx
# fetches for them, and nobody gets a URL for anything else.

use utf8;

use Livestream::Test;
use Livestream::Test::Browser;
use Livestream::Test::M3U8;
use Livestream::Test::Recording;
use Livestream::Test::S3;
use Livestream::Test::S3::Client;

use File::Temp qw(tempdir);

# what has to be escaped, so that it is seen to be escaped once
my $s3 = Livestream::Test::S3->new(tempdir(CLEANUP => 1), cors => 1,
                                   prefix => 'rec ordings/50%/a=b');
my $client = Livestream::Test::S3::Client->new($s3);
my $storage = 'recording_storage "' . $s3->uri . "\";\n" . $s3->directives;


# puts a file that is below $from into the bucket and removes it
sub give_away {
    my ($from, $file) = @_;

    my $r = $client->put($file, "$from/$file");

    is($r->{rc}, 'ok', "$file is in the bucket") or diag($r->{text});
    unlink "$from/$file" or die "$from/$file: $!\n";
}


# a recording with nothing on the disk that may be elsewhere, and what it was:
# URL => bytes
sub recording {
    my ($t) = @_;

    my $rec = Livestream::Test::Recording->make($t);
    my $root = "$t->{dir}/data/media/recordings";
    my %bytes;

    for my $file (map { substr $_, 1 + length $root }
                  glob("$rec->{dir}/*/*.m[p4][4s]"),
                  "$rec->{root}/videos/$rec->{video}.mp4")
    {
        my $url = $file =~ m{/videos/} ? "/streams/$file"
                  : "/streams/$file" =~ s{/\Q$rec->{rid}}
                                         {/recordings/$rec->{rid}}r;

        $bytes{$url} = Livestream::Test::read_file("$root/$file");
        give_away($root, $file);
    }

    return ($rec, \%bytes);
}


subtest 'directives' => sub {
    my %bad = (
        'recording_playback proxy;' => qr/must be "redirect" or "proxy=/,
        'recording_playback proxy=;' => qr/begin and end with a slash/,
        'recording_playback proxy=/s3;' => qr/begin and end with a slash/,
        'recording_playback proxy=s3/;' => qr/begin and end with a slash/,
        'recording_playback redirect; recording_playback proxy=/s3/;'
            => qr/is duplicate/,
        'recording_playback redirect x;' => qr/number of arguments/,
    );

    for my $directive (sort keys %bad) {
        my $t = Livestream::Test->new(livestream => $directive);
        my ($status, $said) = $t->test_conf;

        is($status, 1, $directive);
        like($said, $bad{$directive}, 'and why');
    }

    my $t = Livestream::Test->new(
        livestream => 'recording_playback redirect;');
    is(($t->test_conf)[0], 0, 'redirect is the default, and can be said');
};


my $t = Livestream::Test->new(
    tls        => 1,
    livestream => "$storage dvr on; segment_duration 1s;");
$t->start;

my ($rec, $bytes) = recording($t);
my $url = "http://127.0.0.1:$t->{http}";
my $segment = $rec->path('source', 'segment-1.m4s');


# the answer of the bucket to what a response of nginx leads to
sub follow {
    my ($r, $method, %option) = @_;

    my ($port, $path) = ($r->header('location') // '')
                        =~ m{^http://127\.0\.0\.1:(\d+)(/.*)}
        or return { status => 0 };

    return Livestream::Test::HTTP->new(port => $port)
           ->request($method // 'GET', $path, %option,
                     headers => { Host => "127.0.0.1:$port",
                                  %{ $option{headers} // {} } });
}


subtest 'redirect' => sub {
    for my $path (sort keys %$bytes) {
        my $r = $t->get($path, headers => { Origin => 'https://a.example' });

        is($r->{status}, 302, $path);
        is($r->{body}, '', 'without a body');
        is($r->header('cache-control'), 'private, max-age=1800',
           'for less time than the URL is good for');
        like($r->header('location'), qr/[?&]X-Amz-Expires=3600(?:&|$)/,
             'which is an hour');
        is($r->header('access-control-allow-origin'), '*',
           'scripts may follow');

        my $got = follow($r);
        is($got->{status}, 200, 'the bucket lets in who comes with it');
        ok($got->{body} eq $bytes->{$path}, 'and has the bytes');
    }

    my $r = $t->request(HEAD => $segment);
    is($r->{status}, 302, 'HEAD');
    is(follow($r, 'HEAD')->{status}, 403, 'the URL is for GET');

    $r = follow($t->get($segment, headers => { Range => 'bytes=10-19' }),
                'GET', headers => { Range => 'bytes=10-19' });
    is($r->{status}, 206, 'a range');
    ok($r->{body} eq substr($bytes->{$segment}, 10, 10), 'of the bytes');

    my $location = $t->get($segment)->header('location');

    for my $change (sub { s/segment-1/segment-2/ },
                    sub { s/Expires=3600/Expires=7200/ })
    {
        local $_ = $location;
        $change->();
        is(follow(bless { headers => { location => $_ } },
                  'Livestream::Test::HTTP::Response')->{status}, 403,
           'a URL that was changed is worth nothing');
    }
};

subtest 'what stays on the disk' => sub {
    for my $path ($rec->path('master.m3u8'), $rec->path('poster.jpg'),
                  $rec->path('source', 'playlist.m3u8'),
                  $rec->path('storyboard-0.jpg'))
    {
        is($t->get($path)->{status}, 200, $path);
    }
};

subtest 'no URL for a guess' => sub {
    my $other = Livestream::Test::Recording::uuid();
    my @paths = (
        "/streams/$rec->{id}/recordings/$other/source/segment-1.m4s",
        "/streams/$other/recordings/$rec->{rid}/source/segment-1.m4s",
        $rec->path('720p', 'segment-1.m4s'),
        $rec->path('720p', 'playlist.m3u8'),
        $rec->path('storyboard-1.jpg'),
        $rec->path('index'),
        $rec->path('source', 'part-1.0.m4s'),
        $rec->path('source', '..%2f..%2findex'),
        $rec->path('source', 'segment-1.m4s%3fx'),
        "/streams/$rec->{id}/videos/$other",
        "/streams/$rec->{id}/videos/..%2f$other.mp4",
        "/streams/$rec->{id}/source/segment-1.m4s",
    );

    is($t->get($_)->{status}, 404, $_) for @paths;

    rename "$rec->{dir}/master.m3u8", "$rec->{dir}/away" or die $!;
    is($t->get($segment)->{status}, 404,
       'nor for a recording that was deleted');
    rename "$rec->{dir}/away", "$rec->{dir}/master.m3u8" or die $!;
};

subtest 'HTTP/2' => sub {
    my $text = `nghttp -nv https://127.0.0.1:$t->{https}$segment 2>&1`;

    like($text, qr/:status: 302/, 'a redirect') or diag($text);
    like($text, qr/location: http:/, 'to the bucket');
};

subtest 'a live stream is rewound beyond the disk' => sub {
    my $s = $t->create;
    my $p = $t->publish($s, gop => 1);

    ok($t->wait_live($s), 'is live') or diag($p->output);

    my ($uri, $init);

    ok(wait_for {
        my $m = $t->playlist($s, 'source');
        ($uri, $init) = ($m->{segments}[0]{uri}, $m->{segments}[0]{map}{URI});
        @{ $m->{segments} } > 2;
    }, 'for some segments');

    my ($dir) = glob "$t->{dir}/data/media/recordings/$s->{id}/*";
    my $path = $t->path($s, 'source', $uri);
    my $whole = $t->get($path)->{body};

    ok($whole eq Livestream::Test::read_file("$dir/source/$uri"),
       'from the disk while it is there');

    for ("source/$uri", "source/$init") {
        give_away("$t->{dir}/data/media/recordings",
                  join '/', $s->{id}, $dir =~ s{.*/}{}r, $_);
    }

    my $r = $t->get($path);
    is($r->{status}, 302, 'then from the bucket');
    ok(follow($r)->{body} eq $whole, 'the same bytes');
    is($t->get($t->path($s, 'source', $init))->{status}, 302,
       'its initialization segment too');

    is($t->get($t->path($s, 'source', $_))->{status}, 404, "not $_")
        for 'segment-9999.m4s', 'init-9.mp4', 'part-9999.0.m4s',
            $uri =~ s/segment-(\d+)/part-$1.0/r;
    isnt($t->get($t->path($s, 'thumbnail.jpg'))->{status}, 302,
         'nor a thumbnail');

    $p->stop;
};


my $b = Livestream::Test::Browser->start($t);

sub plays {
    my ($url, $rec) = @_;

    $b->play($url . $rec->path('master.m3u8'));
    ok($b->started, 'hls.js plays it') or diag($b->why);
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
               v.src = '$url" . $rec->video_path . "';
               document.body.append(v);
               v.onloadedmetadata = () => { v.currentTime = 10; v.play(); };
               })()");
    ok($b->wait('document.querySelector("#mp4").ended', 20),
       'and the browser the video, from a seek');

    my $text = `ffprobe -v error -count_frames -show_entries \\
                stream=codec_type,nb_read_frames -of csv=p=0 \\
                '$url@{[$rec->path('master.m3u8')]}' 2>&1`;
    like($text, qr/^video,300$/m, 'ffmpeg gets every picture') or diag($text);
}


subtest 'players follow' => sub { plays($url, $rec) };

my $p = Livestream::Test->new(
    livestream => "$storage recording_playback proxy=/s3/;",
    locations  => '
        location /s3/ {
            internal;
            proxy_pass                  ' . $s3->endpoint . '/;
            proxy_method                GET;
            proxy_pass_request_body     off;
            proxy_pass_request_headers  off;
            proxy_set_header            Range $http_range;
            proxy_hide_header           Access-Control-Allow-Origin;
            add_header                  Cache-Control max-age=3600;
        }');
$p->start;

($rec, $bytes) = recording($p);
$url = "http://127.0.0.1:$p->{http}";
$segment = $rec->path('source', 'segment-1.m4s');

subtest 'proxy' => sub {
    for my $path (sort keys %$bytes) {
        my $r = $p->get($path, headers => { Origin => 'https://a.example' });

        is($r->{status}, 200, $path);
        ok($r->{body} eq $bytes->{$path}, 'the bytes');
        like($r->{head}, qr/^access-control-allow-origin: \*\r?$/im,
             'scripts may read them');
        is(() = $r->{head} =~ /^access-control-allow-origin/img, 1, 'once');
        is($r->header('cache-control'), 'max-age=3600', 'for an hour');
        is($r->header('location'), undef, 'and not where they are');
    }

    my $c = $p->client;
    my $r = $c->request(GET => $segment, headers => {
        Range => 'bytes=10-19', Authorization => 'Basic YTpi' });
    is($r->{status}, 206, 'a range, on behalf of whoever asks');
    ok($r->{body} eq substr($bytes->{$segment}, 10, 10), 'of the bytes');

    $r = $c->request(HEAD => $segment);
    is($r->{status}, 200, 'HEAD');
    is($r->header('content-length'), length $bytes->{$segment},
       'has the length');

    $r = $c->request(GET => $segment, body => 'x' x 5000);
    is($r->{status}, 200, 'GET with a body');
    is($c->request(GET => $rec->path('master.m3u8'))->{status}, 200,
       'which is not the next request');

    is($p->get('/s3/' . $s3->{bucket} . '/')->{status}, 404,
       'nobody else gets to the location');
};

subtest 'players do not notice' => sub { plays($url, $rec) };

$b->stop;

subtest 'the bucket has nothing, or is away' => sub {
    my $r = $p->get($rec->path('source', 'segment-99.m4s'));
    is($r->{status}, 404, 'what is not there');

    $s3->stop;
    $r = $p->get($segment);
    is($r->{status}, 502, 'a server that is away');
    is($r->header('cache-control'), undef, 'is not remembered');
    is($r->header('access-control-allow-origin'), '*',
       'and a script is told of it');
};

$_->stop for $p, $t;
done_testing();
