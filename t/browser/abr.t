# A viewer whose connection becomes slow, and fast again: hls.js goes down the
# ladder and up again without a stall, and the picture neither jumps nor
# repeats, whichever codec the ladder has.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Browser;
use Livestream::Test::Ladder;

my $t = Livestream::Test->new(livestream => 'transcode on; max_transcodes 32;
                                             rung 360p 640x360 700k;
                                             rung 180p 320x180 200k;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             reconnect_window 2s;');
$t->start;

my $bench = Livestream::Bench->new($t);
my $clip = $bench->clip(
    size => '854x480', gop => 2, seconds => 20, audio => ['aac'],
    video => ['libx264', '-preset', 'veryfast', '-b:v', '1600k', '-maxrate',
              '1600k', '-bufsize', '1600k', '-bf', 2, '-sc_threshold', 0,
              '-vf', 'noise=alls=12:allf=t']);

my $b = Livestream::Test::Browser->start($t);

# what a viewer would notice when the level changes
use constant WATCH => <<'END';
(() => {
    const {video, hls} = player;
    const abr = player.abr = {};
    let last = null;

    abr.mark = () => {
        abr.heights = [];           /* of pictures, one after the other */
        abr.back = 0;               /* pictures that were shown again */
        abr.leap = 0;               /* s between two pictures, at most */
        abr.holes = 0;              /* the buffer was in pieces */
        last = null;
    };

    function frame(now, {mediaTime, height}) {
        video.requestVideoFrameCallback(frame);

        if (last !== null) {
            abr.back += mediaTime < last;
            abr.leap = Math.max(abr.leap, mediaTime - last);
        }

        if (abr.heights.at(-1) !== height) {
            abr.heights.push(height);
        }

        last = mediaTime;
    }

    setInterval(() => { abr.holes += video.buffered.length > 1; }, 100);
    video.requestVideoFrameCallback(frame);
    abr.mark();
})()
END

my %codecs = (
    h264 => { height => 480, tracks => [qw(source 360p 180p)] },
    vp9 => { height => 360, tracks => [qw(360p 180p)] },
    h265 => { height => 360, tracks => [qw(360p 180p)],
              type => 'hvc1.1.6.L90.90' },
);

subtest $_ => \&codec, $_ for qw(h264 vp9 h265);

$b->stop;
$t->stop;
done_testing();


sub codec {
    my ($codec) = @_;

    my $c = $codecs{$codec};

    if ($c->{type}) {
        $b->open($t->url('', 'none'));
        my $has = $b->eval("MediaSource.isTypeSupported('video/mp4; "
                           . "codecs=\"$c->{type}\"')");
        diag("this Chromium does not decode $codec") unless $has;
        plan(skip_all => "no $codec") unless $has;
    }

    my $s = $t->create(title => $codec, settings => { codec => $codec });
    my $l = Livestream::Test::Ladder->new($t, $s);
    my $p = $bench->publish($s, $clip, '--loop');

    ok($l->wait_tracks(@{ $c->{tracks} }), 'the ladder is there')
        or diag($p->output, $t->log), return;
    ok($l->wait_segment(3), 'and can be played');

    # some seconds behind, as a player is that was told not to stall; quick
    # to believe what it measures, so that it need not be waited for
    $b->play($t->url($s, 'master.m3u8'), { liveSyncDuration => 5,
             abrEwmaFastLive => 1, abrEwmaSlowLive => 3 });
    ok($b->started, 'it plays') or diag($b->why);
    $b->eval(WATCH);

    ok(height('>=', $c->{height}), 'it goes up to the best') or why();

    # bytes a second: of each what the next rung takes, and somewhat more
    phase('a slower connection', 160_000, '<=', 360) if $c->{height} > 360;
    phase('a slow one', 80_000, '<=', 180);
    phase('a fast one again', 0, '>=', $c->{height});

    is_deeply([grep { $_->{fatal} } @{ $b->report->{errors} }], [],
              'no fatal error');
    $p->stop;
}


# until the picture that is shown has such a height
sub height {
    my ($is, $wanted, $seconds) = @_;

    return $b->wait("player.video.videoHeight $is $wanted", $seconds // 60);
}


sub phase {
    my ($name, $rate, $is, $wanted) = @_;

    $b->mark;
    $b->eval('player.abr.mark()');
    $b->throttle($rate);

    ok(height($is, $wanted), "$name: the rung changes") or why();

    # and then it stays
    my $begun = $b->report->{seconds};
    ok($b->wait('player.report().seconds > ' . ($begun + 4)),
       "$name: it goes on");
    ok(height($is, $wanted, 1), "$name: on that rung");

    my $r = $b->report;
    my $abr = $b->eval('player.abr');

    is($r->{stalls}, 0, "$name: no stall");
    is_deeply($r->{jumps}, [], "$name: no seek");
    is($abr->{back}, 0, "$name: no picture comes twice");
    cmp_ok($abr->{leap}, '<', Livestream::Test::slow(0.5),
           "$name: none of them is held for long");
    is($abr->{holes}, 0, "$name: no hole in the buffer");
    cmp_ok(abs($r->{played} - $r->{seconds}), '<',
           Livestream::Test::slow(0.5), "$name: in real time");
    is_deeply([grep { $_->{type} eq 'mediaError' } @{ $r->{errors} }], [],
              "$name: and no error of the media");

    note(sprintf '%s: %s, %d stalls, %.2f s', $name,
         join(' ', @{ $abr->{heights} }), $r->{stalls}, $abr->{leap});
    why() if $r->{stalls} || @{ $r->{jumps} };
}


sub why { diag($b->why, explain($b->eval('player.abr'))) }
