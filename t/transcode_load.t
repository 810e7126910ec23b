# More streams than the machine can carry: the most expensive rungs are shed,
# with gaps, and leave the multivariant playlist; the others go on, nginx
# answers as ever, memory stays, and what was shed is taken back once there is
# room.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Follow;
use Livestream::Test::Ladder;
use Livestream::Test::Media;

use List::Util qw(max);

use constant MOST => 16;        # streams that no core carries

# one core for all of them, so that few are too many
my $t = Livestream::Test->new(workers => 1,
                              main => 'worker_cpu_affinity 01;',
                              livestream => 'transcode on; max_transcodes 32;
                                             rung 480p 854x480 1400k;
                                             rung 240p 426x240 400k;
                                             video_preset medium;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 30;
                                             reconnect_window 5s;');
$t->start;

my $bench = Livestream::Bench->new($t);
my $clip = $bench->clip(
    size => '854x480', gop => 2, seconds => 10, audio => ['aac'],
    video => ['libx264', '-preset', 'veryfast', '-b:v', '3M', '-bf', 2,
              '-sc_threshold', 0, '-vf', 'noise=alls=12:allf=t']);

my (@live, @slow, @memory);

sub begin {
    my $s = $t->create(title => 'Stream ' . @live);

    push @live, { stream => $s, ladder => Livestream::Test::Ladder->new($t,
                                                                        $s),
                  publisher => $bench->publish($s, $clip, '--loop') };
    return $live[-1];
}


# how nginx does meanwhile
sub look {
    my $r = $t->get($t->path($live[0]{stream}, 'master.m3u8'));

    push @slow, $r->{done} - $r->{sent};
    push @memory, Livestream::Test::Ladder::memory($t);
    return $r->{status} == 200;
}


# those that were there and have lost their best rung
sub poorer {
    return grep {
        my $v = $_->{ladder}->variants;
        $_->{whole} ||= $v->{'480p'};
        $_->{whole} && $v->{'240p'} && !$v->{'480p'};
    } @live;
}


begin();

# what else the machine has to do may have cost the rung at the beginning
ok((wait_for { $live[0]{ladder}->variants->{'480p'} } 50),
   'there is room for one') or diag($t->log);
$live[0]{whole} = 1;
ok($live[0]{ladder}->wait_segment(2), 'which goes on');

my $f = Livestream::Test::Follow->new($t, $live[0]{stream}, '240p');
$f->step;

my @poor;

while (!@poor && @live < MOST) {
    begin();

    my $end = now() + 6;

    while (!(@poor = poorer()) && now() < $end) {
        $f->step;
        look();
    }
}

ok(scalar @poor, 'a rung is shed by ' . @live . ' streams')
    or diag($t->log), exit 1;
ok($t->log_like(qr/quality_changed: 480p/),
   'the log says so');

my $poor = $poor[0];
my $g = Livestream::Test::Follow->new($t, $poor->{stream}, '480p');

# gaps, and nothing else: what is late is not waited for
ok((wait_for {
    my $m = $g->step or return 0;
    $m->{segments}[-1]{gap};
} 10), 'its segments are gaps');

# it was not looked at all the time
$f->step;
$f->{slowest} = 0;

my $before = @memory;

for (1 .. 20) {
    $_->step for $f, $g;
    look();
}

is_deeply($g->problems, [], '480p: nothing changed that must not');
is_deeply([keys %{ $g->{statuses} }], [200], '480p: is answered');
is_deeply($f->problems, [], '240p: nothing changed that must not');
is($f->{gaps}, 0, '240p: the cheapest rung goes on');
cmp_ok($f->{slowest}, '<', Livestream::Test::slow(3), '240p: in time');
is_deeply([$poor->{ladder}->problems], [], 'the others keep the rules');

@slow = sort { $a <=> $b } @slow;
cmp_ok($slow[@slow / 2], '<', Livestream::Test::slow(0.05),
       'nginx answers at once');
cmp_ok($slow[0.95 * @slow], '<', Livestream::Test::slow(0.5),
       'nearly always');

my $more = max(@memory[$before .. $#memory]) - $memory[$before];
cmp_ok($more, '<', 64 * 1024 * 1024, 'its memory stays') or diag($more);

for my $other (grep { $_ != $poor } @live) {
    is($other->{publisher}->running, 1, 'a publisher was let be');
    $other->{publisher}->stop;
}

ok((wait_for { $poor->{ladder}->variants->{'480p'} } 60),
   'with room again it is taken back') or diag($t->log);

# the first whole segment behind the gaps, when all tracks have it
my $msn = wait_for {
    my $m = $t->playlist($poor->{stream}, '480p') or return;
    my ($gap) = map { $_->{msn} } grep { $_->{gap} }
                reverse @{ $m->{segments} };
    defined $gap && $m->{open}{msn} > $gap + 2 && $gap + 1;
} 20;
ok($msn, 'and goes on') or diag($t->log);

my $media = { map {
    $_ => Livestream::Test::Media->new($t, $poor->{stream}, $_, $msn)
} qw(source 480p 240p audio) };

is_deeply([Livestream::Test::Ladder::misaligned($media)], [],
          'beside the others');
is_deeply([$media->{'480p'}->faults], [], 'whole');
is($media->{'480p'}->complaints, '', 'ffmpeg decodes it');
is_deeply([$poor->{ladder}->problems], [], 'the playlists keep the rules');

$poor->{publisher}->stop;
$t->stop;
done_testing();
