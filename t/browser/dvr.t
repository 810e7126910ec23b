# Rewinding: hls.js goes back by an hour in the middle of a live stream, plays
# what was to be seen then, and returns to the live edge, all without waiting
# for long.

use Livestream::Test;
use Livestream::Test::Browser;

use constant { HOUR => 3600, LOOP => 8 };

my $t = Livestream::Test->new(livestream => 'dvr on;
    default_dvr_window 2h; segment_duration 6s; part_duration 500ms;');
$t->start;

# the grey of each second tells which of the loop it is

my $s = $t->create;
my $p = $t->publish_fast($s, seconds => 1.2 * HOUR, clip => {
    fps => 10, seconds => LOOP,
    picture => q{color=black:size=160x90:rate=10,}
               . q{geq=lum='16+27*floor(T)':cb=128:cr=128},
});

my $b = Livestream::Test::Browser->start($t);

$b->play($t->url($s, 'master.m3u8'));
ok($b->started, 'the stream plays') or diag($b->why);
ok($b->wait('player.hls.latency < 6 && player.report().seconds > 2'),
   'at the live edge');
right_picture('live');

my $live = date();
$b->mark;
$b->eval('void (player.video.currentTime -= ' . HOUR . ')');
ok($b->wait('!player.video.seeking && player.report().frames > 3', 15),
   'an hour back it plays again') or diag($b->why);

my $then = date();
cmp_ok(abs($live - HOUR - $then), '<', Livestream::Test::slow(10),
       'which is what was on then');
right_picture('an hour ago');
goes_on('there');

$b->mark;
$b->eval('void (player.video.currentTime = player.hls.liveSyncPosition)');
ok($b->wait('!player.video.seeking && player.report().frames > 3', 15),
   'back at the edge it plays again') or diag($b->why);
cmp_ok(date() - $live, '>', 5, 'what is on now');
right_picture('live again');
goes_on('live');
cmp_ok($b->eval('player.hls.latency'), '<', Livestream::Test::slow(6),
       'not far behind');

is_deeply($b->messages, [], 'nothing was refused');

$b->stop;
$p->kill;
$t->stop;
done_testing();


# the date of the picture, as the playlist has it
sub date { $b->eval('player.hls.playingDate.getTime() / 1000') }


# Taken again where the machine was late with a picture: what is wrong by
# seconds stays so.
sub right_picture {
    my ($when) = @_;

    my ($second, $off);

    my $right = wait_for {
        ($second, $off) = picture();
        grep { $off + $_ > -0.3 && $off + $_ < 1.3 } 0, LOOP, -LOOP;
    } 5;

    ok($right, "$when: the picture is that of its date")
        or diag("second $second, $off off");
}


# the second of the loop that is shown, and how far off its date is
sub picture {
    my $seen = $b->eval(q{(() => {
        const canvas = new OffscreenCanvas(1, 1);
        const draw = canvas.getContext("2d");

        draw.drawImage(player.video, 0, 0, 1, 1);

        return {grey: draw.getImageData(0, 0, 1, 1).data[1],
                date: player.hls.playingDate.getTime() / 1000};
    })()});

    # 27 of 219 levels, as 0 to 255
    my $second = int($seen->{grey} / (27 * 255 / 219) + 0.5);
    my $at = ($seen->{date} - $p->{begin}) / LOOP;

    return ($second, ($at - int $at) * LOOP - $second);
}


# without a picture that stays for long
sub goes_on {
    my ($where) = @_;

    my $from = $b->report->{currentTime};

    ok($b->wait("player.video.currentTime > $from + 8", 12),
       "$where it goes on") or diag($b->why);

    my $r = $b->report;

    cmp_ok($r->{longest}, '<', Livestream::Test::slow(3000),
           'no picture is held for three seconds');
    is_deeply([grep { $_->{fatal} } @{ $r->{errors} }], [],
              'without a fatal error');
}
