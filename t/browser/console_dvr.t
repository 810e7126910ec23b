# The console and recordings: they are not listed, cannot be played, sought in
# by their pictures, converted, kept or deleted; or of a live stream, nobody
# finds the way back, nor to live again.

use Livestream::Test;
use Livestream::Test::Browser;
use Livestream::Test::Recording;
use Livestream::Test::S3;
use Livestream::Test::S3::Client;

use File::Path qw(make_path);

use constant { SECONDS => 600, DAY => 86400 };

my %console = (
    main       => $> == 0 ? 'user root;' : '',
    http       => 'types { text/html html; text/css css; text/javascript js;
                           image/svg+xml svg; }',
    locations  => 'location /console/ { alias %%CHECKOUT%%/conf/console/; }',
);
my $t = Livestream::Test->new(%console, livestream =>
    'part_duration 500ms; segment_duration 2s; dvr on; default_dvr_window 10m;
     reconnect_window 1s;');
$t->start;

my $s = $t->create(title => 'Town <hall>');
my $b = Livestream::Test::Browser->start($t);
my $url = "http://127.0.0.1:$t->{http}/console/";
my $page = "$url#/streams/$s->{id}";
my $folder = "$t->{dir}/data/media/recordings/$s->{id}";

sub text {
    my ($css) = @_;

    return $b->eval("document.querySelector('$css')?.innerText");
}

sub shows {
    my ($css, $text, $name, $seconds) = @_;

    ok($b->wait("document.querySelector('$css')?.innerText.includes('$text')",
                $seconds // 10), $name) or diag(text($css));
}

sub number { $b->eval($_[0]) }

sub ffmpeg {
    system('ffmpeg', '-nostdin', '-loglevel', 'error', '-y', @_) == 0
        or die "ffmpeg failed\n";
}

# A recording as the keeper would leave it, of a picture that is another one
# each ten seconds.
sub recording {
    my ($rid) = @_;

    my $dir = "$folder/$rid";
    my $clip = "$t->{dir}/clip.mp4";

    make_path("$dir/source", "$dir/180p");

    ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=5:duration='
           . SECONDS, '-c:v', 'libx264', '-preset', 'ultrafast', '-g', 10,
           '-pix_fmt', 'yuv420p', $clip);
    ffmpeg('-i', $clip, '-c', 'copy', '-f', 'hls', '-hls_time', 6,
           '-hls_playlist_type', 'vod', '-hls_segment_type', 'fmp4',
           '-hls_fmp4_init_filename', 'init-0.mp4', '-hls_segment_filename',
           "$dir/source/segment-%d.m4s", "$dir/source/playlist.m3u8");
    ffmpeg('-i', $clip, '-vf', 'fps=1/10,scale=160:90,tile=10x10',
           '-start_number', 0, "$dir/storyboard-%d.jpg");
    ffmpeg('-ss', 42, '-i', $clip, '-frames:v', 1, "$dir/poster.jpg");
    system('cp', '-r', "$dir/source/.", "$dir/180p") == 0 or die;

    my $vtt = "WEBVTT\n";

    for my $i (0 .. SECONDS / 10 - 1) {
        my @at = map { sprintf '%02d:%02d:%02d.000', $_ / 3600, $_ / 60 % 60,
                               $_ % 60 } $i * 10, $i * 10 + 10;

        $vtt .= "\n$at[0] --> $at[1]\nstoryboard-" . int($i / 100)
                . '.jpg#xywh=' . join(',', $i % 10 * 160,
                                      int($i / 10) % 10 * 90, 160, 90) . "\n";
    }

    Livestream::Test::write_file("$dir/storyboard.vtt", $vtt);
    Livestream::Test::write_file("$dir/master.m3u8", <<'END');
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-STREAM-INF:BANDWIDTH=400000,RESOLUTION=320x180,CODECS="avc1.42c00c"
source/playlist.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,CODECS="avc1.42c00c"
180p/playlist.m3u8
END

    return $rid;
}

sub insert {
    my ($rid, %field) = @_;

    %field = (id => $rid, live_stream_id => $s->{id}, status => 'ready',
              %field);

    my @names = sort keys %field;

    $t->sql('INSERT INTO dvr_recordings (' . join(', ', @names) . ') VALUES ('
            . join(', ', map { "'$_'" } @field{@names}) . ')');
}


# ---- a stream without recordings

$b->open($page);
shows('h1', 'Town', 'the stream is shown');
ok($b->eval('document.querySelector(".recordings").hidden'),
   'no recordings, no card');
ok($b->eval('document.querySelector(".deck").hidden'),
   'and nothing to seek in');


# ---- the list of recordings

my $rid = recording('11111111-1111-4111-8111-111111111111');
my $base = "/streams/$s->{id}/recordings/$rid";

insert($rid, start_time => '2026-03-01T18:00:00.000Z',
       end_time => '2026-03-01T18:10:00.000Z', duration => SECONDS,
       size => 123456789, manifest_url => "$base/master.m3u8",
       thumbnail_url => "$base/poster.jpg", recording_url => "file:$folder/",
       retention_until => '2099-03-31T18:00:00.000Z');
insert('22222222-2222-4222-8222-222222222222', status => 'failed',
       start_time => '2026-02-28T18:00:00.000Z');

# ---- pictures of a seek bar

my $cues = $b->eval(<<'END');
import("./storyboard.js").then((m) => m.parse([
    "WEBVTT", "", "NOTE 00:00:00.000 --> 00:00:10.000", "x.jpg#xywh=9,9,9,9",
    "", "1", "00:00:10.000 --> 00:00:20.000", "b.jpg#xywh=2,0,160,90", "",
    "00:00.000 --> 00:10.000 align:start", "a.jpg#xywh=1,0,160,90\r", "",
    "00:00:20.000 --> 00:00:30.000", "no picture", "",
    "00:00:30.000 --> 00:00:40.000", "c.jpg#xywh=-1,0,160,90", "",
    "00:00:40.000 --> later", "d.jpg#xywh=4,0,160,90", "",
    "100:00:00.000 --> 100:00:10.000", "e.jpg#xywh=5,0,160,90", "",
    "00:00:50.000 --> 00:01:00.000",
].join("\n"), location.href).map(
    (cue) => [cue.start, new URL(cue.url).pathname.split("/").at(-1), cue.x])
)
END
is_deeply($cues, [[0, 'a.jpg', 1], [10, 'b.jpg', 2], [360000, 'e.jpg', 5]],
          'cues that are none are left out');


$b->open($page);
ok($b->wait('document.querySelectorAll(".recordings li").length === 2'),
   'recordings are listed');
shows('.recordings li:first-child', '10:00', 'with their length');
shows('.recordings li:first-child', '123 MB', 'size');
shows('.recordings li:first-child', '2099', 'and how long they are kept');
shows('.recordings li:last-child .badge', 'Failed', 'one has failed');
ok($b->wait('document.querySelector(".recordings img").naturalWidth === 320'),
   'poster');

$b->screenshot("$ENV{SHOTS}/list.png") if $ENV{SHOTS};


# ---- playing it

$b->click('.recordings li:first-child a');
shows('.description', 'Recording of', 'one opens');
ok($b->wait('document.querySelector("video").currentTime > 1', 20),
   'and plays');
shows('.deck .at', '/ 10:00', 'the bar says how long it is');
is($b->eval('document.querySelector(".golive").hidden'), JSON::PP::true,
   'and of nothing live');

$b->hover('.bar', 0.5);
ok($b->wait('!document.querySelector(".peek").hidden
             && document.querySelector(".picture img").naturalWidth'),
   'the bar shows the picture that is there');
shows('.peek', '5:00', 'with its time');
is($b->eval('document.querySelector(".picture img").style.transform'),
   'translate(0px, -270px)', 'the thirtieth of its sheet');

$b->screenshot("$ENV{SHOTS}/recording.png") if $ENV{SHOTS};

$b->hover('.bar', 0.75, 'click');
ok($b->wait('Math.abs(document.querySelector("video").currentTime - 450)
             < 10', 10), 'a click seeks')
    or diag(number('document.querySelector("video").currentTime'));
ok($b->wait('document.querySelector("video").currentTime > 451', 20),
   'where it plays on');

my $at = number('document.querySelector("video").currentTime');
$b->press('ArrowLeft');
ok($b->wait("document.querySelector('video').currentTime < $at - 4"),
   'an arrow key seeks, too');


# ---- an MP4 of it

sub hidden { $b->eval("document.querySelector('$_[0]').hidden") }

$b->choose('[aria-label="Level of the MP4"]', '180p');
$b->click('.conversion button');
ok($b->wait('document.querySelector(".asks").hidden
             && document.querySelector(".running").innerText === "Waiting"'),
   'an MP4 is asked for, once');

my ($row) = $t->sql('SELECT * FROM dvr_conversions');
is($row->{resolution}, '180p', 'of the level that was chosen');

# a recording that was not made by this server has no index
shows('.conversion .fault', 'index', 'its fault is shown', 20);
ok(!hidden('.asks'), 'and it can be asked for again');

# one that the keeper leaves alone, for its video is none
$t->sql("UPDATE dvr_conversions SET status = 'running', progress = 0.42,"
        . " video_id = 'none'");
$b->open("$page/recordings/$rid");
shows('.running', '42 %', 'progress is shown');
ok(hidden('.conversion .fault') && hidden('.asks'), 'and nothing else');

$b->screenshot("$ENV{SHOTS}/converting.png") if $ENV{SHOTS};

$t->sql("INSERT INTO videos (id, title, user_id, status, source_url) VALUES"
        . " ('none', 't', 'u', 'ready', '/streams/$s->{id}/videos/x.mp4')");
$t->sql("UPDATE dvr_conversions SET status = 'ready', progress = 1");
ok($b->wait('!document.querySelector(".conversion a").hidden'),
   'once it is there');
is($b->eval('document.querySelector(".conversion a").getAttribute("href")'),
   "http://127.0.0.1:$t->{http}/streams/$s->{id}/videos/x.mp4",
   'it is offered');


# ---- kept, deleted

$b->choose('.kept select', 'For ever');
shows('.kept p', 'for ever', 'it is kept for ever');
$b->choose('.kept select', '1 year from now');
ok($b->wait('!/ever/.test(document.querySelector(".kept p").innerText)'),
   'or for a year');
($row) = $t->sql("SELECT retention_until FROM dvr_recordings"
                 . " WHERE id = '$rid'");
my ($year) = $row->{retention_until} =~ /^(\d+)/;
is($year, 1901 + (gmtime)[5], 'as the store has it');

$b->click('.tools button:has-text("Delete")');
$b->press('Escape');
is(($t->sql("SELECT status FROM dvr_recordings WHERE id = '$rid'"))[0]{status},
   'ready', 'Escape keeps it');
$b->click('.tools button:has-text("Delete")');
$b->click('#dialog-yes');
ok($b->wait('document.querySelectorAll(".recordings li").length === 1'),
   'a deleted one has gone from the list');
$b->click('.recordings .tool');
$b->click('#dialog-yes');
ok($b->wait('document.querySelector(".recordings").hidden'),
   'and so has the other');

is_deeply([grep { !/404/ } @{ $b->messages }], [],
          'the page complained of nothing, its security policy included');


# ---- live: back, and to live again

my $p = $t->publish($s, size => '320x180');

shows('.head .badge', 'Live', 'the stream is live', 20);
ok($b->wait('document.querySelector("video").currentTime > 1', 20),
   'and plays');
shows('.golive', 'Live', 'at the live edge');
ok($b->wait('Number(document.querySelector(".bar")
                    .getAttribute("aria-valuemax")) > 16', 40),
   'a window grows behind it');

$b->hover('.bar', 0.1);
shows('.peek', '\u22120:', 'the bar says how far back and when');
$b->hover('.bar', 0.1, 'click');
shows('.deck .at', '\u22120:1', 'a click goes back');
shows('.golive', 'Back to live', 'and says the way back');

$at = number('document.querySelector("video").currentTime');
ok($b->wait("document.querySelector('video').currentTime > $at + 2", 10),
   'where it plays on');
shows('.deck .at', '\u22120:1', 'as far behind');

$b->screenshot("$ENV{SHOTS}/behind.png") if $ENV{SHOTS};

$b->click('.golive');
ok($b->wait('document.querySelector(".golive").classList.contains("on")', 10),
   'one click, and it is live again');
ok($b->wait('Number(document.querySelector(".now b").textContent) < 6', 10),
   'with its latency') or diag(text('.now b'));

$b->screenshot("$ENV{SHOTS}/live.png") if $ENV{SHOTS};


# ---- what is live becomes a recording

shows('.recordings li .badge', 'Recording', 'it is being recorded');
ok(hidden('.recordings .tool'), 'and cannot be deleted yet');
$b->click('.tools button:has-text("Stop")');
$b->click('#dialog-yes');
shows('.recordings li .meta', 'kept until', 'once it is over it is kept', 30);
ok($b->wait('document.querySelector(".recordings .badge").hidden'),
   'and ready');
ok($b->wait('document.querySelector(".recordings img").naturalWidth'),
   'with a picture');

$b->click('.recordings li a');
ok($b->wait('document.querySelector("video")?.currentTime > 1', 20),
   'it plays');

my $length = number('document.querySelector("video").duration');
cmp_ok($length, '>', 16, "all of it, $length s");

$b->hover('.bar', 0.9);
ok($b->wait('!document.querySelector(".peek").hidden
             && document.querySelector(".picture img").naturalWidth'),
   'its bar shows pictures');

$b->click('.conversion button');
ok($b->wait('!document.querySelector(".conversion a").hidden', 20),
   'an MP4 is made of it');

my ($path) = $b->eval('document.querySelector(".conversion a").href')
             =~ m{^http://[^/]+(/.+)};
my $r = $t->get($path);
is($r->{status}, 200, 'and can be fetched');
is(substr($r->{body}, 4, 4), 'ftyp', 'as an MP4');

$b->screenshot("$ENV{SHOTS}/made.png") if $ENV{SHOTS};


$t->stop;


# ---- media that are in a bucket: another origin

my $s3 = Livestream::Test::S3->new("$t->{dir}/s3", cors => 1,
                                   prefix => 'recordings');
my $client = Livestream::Test::S3::Client->new($s3);

$t = Livestream::Test->new(%console, livestream =>
    'recording_storage "' . $s3->uri . '"; ' . $s3->directives);
$t->start;

my $rec = Livestream::Test::Recording->make($t);

$t->sql("UPDATE dvr_recordings SET manifest_url = '"
        . $rec->path('master.m3u8') . "'");

for my $path (glob "$rec->{dir}/*/*.m[p4][4s]") {
    my $key = substr $path, 1 + length "$t->{dir}/data/media/recordings";

    is($client->put($key, $path)->{rc}, 'ok', 'one more is in the bucket');
    unlink $path;
}

$b->open("http://127.0.0.1:$t->{http}/console/#/streams/$rec->{id}/recordings/"
         . $rec->{rid});
ok($b->wait('document.querySelector("video")?.currentTime > 1', 20),
   'plays from there') or diag(@{ $b->messages });
is_deeply([grep { !/404/ } @{ $b->messages }], [], 'without a complaint');

$b->stop;
$t->stop;
done_testing();
