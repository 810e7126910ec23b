# A live playlist that breaks a rule of RFC 8216bis, at any of its states, in
# any of its renditions: the static rules at each reload, the rules between
# reloads, and the media against what the playlists say of it.

use Livestream::Test;
use Livestream::Test::Conformance;
use Livestream::Test::Follow;

use List::Util qw(sum0);

my @kinds = (
    ['30 fps, 48 kHz, no B-frames', {}],
    ['29.97 fps, 44.1 kHz, B-frames',
     { fps => '30000/1001', rate => 44100, bframes => 2, gop => 2 }],
    ['59.94 fps', { fps => '60000/1001' }],
    ['video only', { audio => 0 }],
    ['audio only', { video => 0 }],
);

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 6;');
$t->start;

for my $kind (@kinds) {
    my ($name, $option) = @$kind;

    subtest $name => sub { stream($option) };
}

$t->stop;
done_testing();


sub stream {
    my ($option) = @_;

    my $s = $t->create(title => 'By the letter');
    my $p = $t->publish($s, %$option);
    my @tracks = (exists $option->{video} ? () : 'source',
                  exists $option->{audio} ? () : 'audio');

    ok($t->wait_live($s, $tracks[0]), 'is live') or diag($p->output);

    my $master = $t->master_playlist($s);
    is_deeply([Livestream::Test::Conformance::master($master)], [],
              'multivariant playlist');

    my %f = map { $_ => Livestream::Test::Follow->new($t, $s, $_) } @tracks;
    my (%wrong, %seen);
    my $end = now() + 16;

    while (now() < $end) {
        my @m = grep { $_ } map { $f{$_}->step } @tracks;

        for my $m (@m) {
            my @others = grep { $_ != $m } @m;
            $wrong{$_}++
                for Livestream::Test::Conformance::media($m, \@others);
        }

        inspect($s, $tracks[$_], $m[$_], $seen{ $tracks[$_] } //= {}, \%wrong)
            for 0 .. $#m;
    }

    is_deeply([sort keys %wrong], [], 'every state of every media playlist');

    for my $track (@tracks) {
        is_deeply($f{$track}->problems, [], "$track: between reloads");
        cmp_ok($f{$track}{parts}, '>', 20, "$track: parts came");
        cmp_ok($f{$track}{playlist}{msn}, '>', 0, "$track: and went");
        cmp_ok($f{$track}{slowest}, '<', 1.0, "$track: in time");
        is_deeply([keys %{ $f{$track}{statuses} }], [200],
                  "$track: every request was answered");
        lingers($s, $track, $f{$track});
    }

    $p->stop;
}


# What has left the playlist may still be asked for: a segment for its own
# duration and that of the longest playlist (RL-05), a part for three target
# durations (RL-06).
sub lingers {
    my ($s, $track, $f) = @_;

    my $m = $f->step;
    my $gone = $m->{msn} - 1;
    my ($kept) = grep { @{ $_->{parts} } } @{ $m->{segments} };
    my $part = 'part-' . ($kept->{msn} - 1) . '.0.m4s';

    ok($f->{seen}{$part}, "$track: $part was listed");
    is($t->get($t->path($s, $track, "segment-$gone.m4s"))->{status}, 200,
       "$track: a segment that has just left is served");
    is($t->get($t->path($s, $track, $part))->{status}, 200,
       "$track: and so is a part");
}


# What was said of a part, and is true of its bytes.
sub inspect {
    my ($s, $track, $m, $seen, $wrong) = @_;

    my $target = $m->{part_inf}{'PART-TARGET'};

    for my $segment (@{ $m->{segments} }, $m->{open}) {
        my $map = $segment->{map}{URI} // next;

        if (!$seen->{$map}) {
            my $init = $t->get($t->path($s, $track, $map))->{body};
            $wrong->{$_}++ for Livestream::Test::Conformance::init($init);
            $seen->{$map} = Livestream::Test::Conformance::timescale($init);
        }

        for my $part (@{ $segment->{parts} }) {
            next if $seen->{ $part->{URI} };

            my $r = $t->get($t->path($s, $track, $part->{URI}));
            $seen->{ $part->{URI} } = $r->{body};

            $wrong->{"$part->{URI}: status $r->{status}"}++, next
                if $r->{status} != 200;
            part($part, $r->{body}, $seen, $seen->{$map}, $wrong);
        }

        whole($s, $track, $segment, $seen, $wrong)
            if $segment->{uri} && @{ $segment->{parts} };
    }
}


sub part {
    my ($part, $bytes, $seen, $scale, $wrong) = @_;

    my @f = eval { Livestream::Test::Conformance::fragments($bytes) };
    $wrong->{"$part->{URI}: $@"}++, return if $@ || !@f;

    my @samples = map { @{ $_->{samples} } } @f;
    my $duration = sum0(map { $_->{duration} } @samples) / $scale;

    $wrong->{"ST-15: $part->{URI} of $part->{DURATION} s has $duration s"}++
        if abs($duration - $part->{DURATION}) > 0.001;

    my $keys = grep { $_->{key} } @samples;
    my $told = ($part->{INDEPENDENT} // '') eq 'YES';

    $wrong->{"ST-12: $part->{URI} has $keys key frames, INDEPENDENT "
             . ($told ? 'YES' : 'NO')}++ if !$keys != !$told;

    my $end = $seen->{end};
    $wrong->{"RL-10: $part->{URI} begins at $f[0]{dts}, not at $end"}++
        if defined $end && $f[0]{dts} != $end;
    $seen->{end} = $f[-1]{dts}
        + sum0(map { $_->{duration} } @{ $f[-1]{samples} });
}


# A segment is its parts, and opens with a key frame.
sub whole {
    my ($s, $track, $segment, $seen, $wrong) = @_;

    return if $seen->{ $segment->{uri} };

    my $body = $t->get($t->path($s, $track, $segment->{uri}))->{body};
    $seen->{ $segment->{uri} } = 1;

    $wrong->{"ST-15: $segment->{uri} is not its parts"}++
        if $body ne join '', map { $seen->{ $_->{URI} } // '' }
                             @{ $segment->{parts} };

    my ($first) = eval { Livestream::Test::Conformance::fragments($body) };
    $wrong->{"ST-22: $segment->{uri} opens without a key frame"}++
        if !$first || !$first->{samples}[0]{key};
}
