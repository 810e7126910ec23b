# A track that is there with one publisher and not with the next: the other one
# goes on, and when it comes back both are at the same place again.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Conformance;
use Livestream::Test::Follow;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 12;');
$t->start;

my $bench = Livestream::Bench->new($t);
my $clip = $bench->clip(video => ['libx264', '-preset', 'veryfast', '-bf', 2],
                        audio => ['aac']);

# each is what one publisher after the other leaves out
my @cases = (
    ['', '--no-video', ''],
    ['', '--no-audio', ''],
    ['--no-video', ''],
    ['--no-audio', ''],
    ['--no-video', '--no-audio', '--no-video', ''],
);

my @streams = map { {
    options => $_,
    name => join(', then ', map { s/^--//r =~ s/-/ /r || 'both' } @$_),
    stream => $t->create(title => "@$_"),
} } @cases;

# side by side, one publisher after the other
for my $turn (0 .. 3) {
    my @live;

    for my $s (@streams) {
        my $option = $s->{options}[$turn] // next;
        my $last = $turn == $#{ $s->{options} };

        my $p = $bench->publish($s->{stream}, $clip, '--loop',
                                $last ? () : ('--cut-after', 5000),
                                $option || ());
        push @live, [$s, $p, $last];
    }

    for my $live (@live) {
        my ($s, $p, $last) = @$live;

        ok($p->event('publishing'), "$s->{name}: publisher $turn is accepted")
            or diag($p->output);

        follow($s), $p->stop if $last;

        is($p->code // -1, 0, "$s->{name}: publisher $turn was not cut")
            or diag($p->output);
    }
}

$t->stop;
done_testing();


# The last publisher sends both: both tracks must get parts, at one place.
sub follow {
    my ($s) = @_;

    my %f = map { $_ => Livestream::Test::Follow->new($t, $s->{stream}, $_) }
            qw(source audio);
    my (%wrong, %m);

    for my $track (qw(source audio)) {
        ok($t->wait_live($s->{stream}, $track), "$s->{name}: $track is there")
            or return;
        $f{$track}->step;
    }

    my %before = map { $_ => $f{$_}{parts} } keys %f;
    my $end = now() + 2.5;

    while (now() < $end) {
        for my $track (qw(source audio)) {
            $m{$track} = $f{$track}->step or next;
            # a track that came late has a number to begin with, but has
            # not slid
            $wrong{"$track $_"}++
                for grep { !/^ST-26/ }
                    Livestream::Test::Conformance::media($m{$track});
        }
    }

    for my $track (qw(source audio)) {
        is_deeply($f{$track}->problems, [],
                  "$s->{name}: $track: nothing changed that must not");
        cmp_ok($f{$track}{parts} - $before{$track}, '>=', 3,
               "$s->{name}: $track: parts come");
    }

    is_deeply([sort keys %wrong], [], "$s->{name}: the rules are kept");
    cmp_ok(abs($m{source}{open}{msn} - $m{audio}{open}{msn}), '<=', 1,
           "$s->{name}: both are at one place");
}
