# From a publisher to a viewer: everything that a player fetches, and ffmpeg
# as the player.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $s = $t->create(title => 'From end to end');
my $p = $t->publish($s);

ok($t->wait_live($s), 'a media playlist is served') or diag($p->output);

my $master = $t->master_playlist($s);
ok($master, 'a multivariant playlist is served');
is($master->{variants}[0]{uri}, 'source/playlist.m3u8', 'it names the video');
is($master->{variants}[0]{RESOLUTION}, '320x180', 'and its size');

for my $track (qw(source audio)) {
    my $m = $t->wait_live($s, $track) or next;
    my $segment = $m->{segments}[0];

    my $init = $t->get($t->path($s, $track, $segment->{map}{URI}));
    is($init->{status}, 200, "$track: init segment");
    is(substr($init->{body}, 4, 4), 'ftyp', "$track: which opens with ftyp");

    my $media = $t->get($t->path($s, $track, $segment->{uri}));
    is($media->{status}, 200, "$track: segment");
    like(substr($media->{body}, 0, 256), qr/moof.*traf/s,
         "$track: which has a fragment");
}

my $probe = `ffprobe -v error -of json -show_streams @{[ $t->url($s,
    'master.m3u8') ]}`;
like($probe, qr/"codec_name": "h264"/, 'ffprobe sees H.264');
like($probe, qr/"codec_name": "aac"/, 'and AAC');

my $errors = `ffmpeg -v error -i @{[ $t->url($s, 'master.m3u8')
    ]} -t 3 -f null - 2>&1`;
is($?, 0, 'ffmpeg plays three seconds');
is($errors, '', 'without a complaint');

$p->stop;
$t->stop;
done_testing();
