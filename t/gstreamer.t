# GStreamer, as it comes, plays a stream: sound and picture, decoded without an
# error. It also publishes one.

use Livestream::Test;

plan skip_all => 'needs gst-launch-1.0'
    if system('gst-launch-1.0 --version >/dev/null 2>&1');

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $s = $t->create(title => 'For GStreamer');
my $p = $t->publish($s, size => '320x180');

ok($t->wait_live($s), 'the stream can be played') or diag($p->output);

plays($s, 'a stream of ffmpeg');
$p->stop;

my $own = $t->create(title => 'By GStreamer');
my $pid = $t->spawn('gst-publish', 'gst-launch-1.0', '-q',
    qw(flvmux name=mux streamable=true ! rtmp2sink),
    "location=rtmp://127.0.0.1:$t->{rtmp}/live/$own->{stream_key}",
    qw(videotestsrc is-live=true !), 'video/x-raw,width=320,height=180',
    qw(! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30
       bitrate=300 !), 'video/x-h264,profile=baseline',
    qw(! h264parse ! mux. audiotestsrc is-live=true !),
    'audio/x-raw,rate=48000,channels=2', qw(! avenc_aac ! aacparse ! mux.));

ok($t->wait_live($own), 'GStreamer publishes')
    or diag(Livestream::Test::read_file("$t->{dir}/gst-publish.log"));

plays($own, 'a stream of its own');

kill INT => $pid;
Livestream::Test::reap($pid, 10);
$t->stop;
done_testing();


sub plays {
    my ($stream, $what) = @_;

    my $log = "$t->{dir}/gst-play.log";
    my $player = $t->spawn('gst-play', 'gst-launch-1.0', '-v', 'uridecodebin3',
        "uri=" . $t->url($stream, 'master.m3u8'), 'name=d',
        qw(d. ! queue ! videoconvert ! video/x-raw ! identity eos-after=60
           ! fakesink sync=true),
        qw(d. ! queue ! audioconvert ! audio/x-raw ! identity eos-after=90
           ! fakesink sync=true));

    my $status = Livestream::Test::reap($player, 30);
    my $said = Livestream::Test::read_file($log);

    is($status, 0, "GStreamer plays $what to the sixtieth picture")
        or diag(substr $said, -2000);
    unlike($said, qr/ERROR|CRITICAL/, 'without an error');
    like($said, qr/caps = video\/x-raw.*width=\(int\)320/, 'the picture');
    like($said, qr/caps = audio\/x-raw.*rate=\(int\)48000/, 'and the sound');
}
