# Publishers' clocks that wrap, jump, stand still or differ: viewers get one
# continuous timeline, with a discontinuity only where nothing else is true.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Conformance;
use Livestream::Test::Follow;

use JSON::PP;
use List::Util qw(max min);

use constant SECONDS => 14;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 20;');
$t->start;

my $bench = Livestream::Bench->new($t);
my @x264 = ('libx264', '-preset', 'veryfast', '-bf', 2);
my $clip = $bench->clip(video => \@x264, audio => ['aac']);
my $other = $bench->clip(video => \@x264, audio => ['aac'],
                         size => '640x360', rate => 44100);

# What is expected: "discontinuities"; "hole", the longest time in seconds
# between two frames of a track, if not that of an ordinary one; "gap", that
# missing time may be told by GAP=YES; "behind", by how many seconds the audio
# is later than the video; "slow", that parts may be late; "apart", that
# nothing is said of how the tracks lie to each other.

my @cases = (
    { name => 'an honest clock', options => [] },

    { name => 'a clock that wraps at 32 bits',
      options => ['--start-ts', 4294967296 - 5000] },

    { name => 'a clock that begins late',
      options => ['--start-ts', 4000000000] },

    { name => 'a jump forward of 100 s', options => ['--jump', '5000:100000'],
      discontinuities => 1 },

    { name => 'a jump back of an hour',
      options => ['--start-ts', 5000000, '--jump', '5000:-3600000'],
      discontinuities => 1 },

    { name => 'a jump back to zero',
      options => ['--start-ts', 20000, '--jump', '5000:-25000'],
      discontinuities => 1 },

    { name => 'a second that is missing', options => ['--jump', '5000:1000'],
      hole => 1.1, gap => 1 },

    { name => 'a second that comes twice',
      options => ['--start-ts', 20000, '--jump', '5000:-1000'],
      discontinuities => 1 },

    { name => 'audio that is 400 ms late',
      options => ['--audio-offset', 400], behind => 0.4, gap => 1 },

    { name => 'audio that is 400 ms early',
      options => ['--start-ts', 10000, '--audio-offset', -400],
      behind => -0.4, hole => 0.5 },

    { name => 'video that is 20 s from its audio',
      options => ['--start-ts', 100000, '--audio-offset', -20000],
      apart => 1 },

    { name => 'a network that jitters', options => ['--jitter', 150],
      slow => 1.5 },

    { name => 'a network that delivers in bursts', options => ['--burst', 800],
      slow => 2.0 },

    { name => 'an uplink that stands still for three seconds',
      options => ['--freeze', '5000:3000'], slow => 5 },

    { name => 'a codec configuration that changes',
      options => ['--change-to', "6000:$other"], discontinuities => 1,
      change => 1 },
);

# all at once: they are live for the same seconds
for my $case (@cases) {
    $case->{stream} = $t->create(title => $case->{name});
    $case->{publisher} = $bench->publish($case->{stream}, $clip, '--loop',
        '--stop-after', SECONDS * 1000, @{ $case->{options} });
}

my @open = map {
    my $case = $_;
    map { { case => $case, track => $_,
            follow => Livestream::Test::Follow->new($t, $case->{stream}, $_) }
    } qw(source audio);
} @cases;

$t->wait_live($_->{stream}) for @cases;
follow(@open);

subtest $_->{name} => \&check, $_ for @cases;

$t->stop;
done_testing();


# Follows all playlists side by side until shortly before their end.
sub follow {
    my (@open) = @_;

    my $end = now() + SECONDS - 3;

    while (now() < $end) {
        for my $o (@open) {
            my $m = ask($o) or next;
            $o->{case}{wrong}{"$o->{track} $_"}++
                for Livestream::Test::Conformance::media($m);
        }
    }
}


# One reload that does not block, so that thirty can take turns.
sub ask {
    my ($o) = @_;

    $o->{follow}{query} = '';
    return $o->{follow}->step;
}


sub check {
    my ($case) = @_;

    is_deeply([sort keys %{ $case->{wrong} }], [],
              'every state of the playlists keeps the rules');

    my %frames;

    for my $o (grep { $_->{case} == $case } @open) {
        my $track = $o->{track};
        my $f = $o->{follow};
        my $m = $f->{playlist};

        ok($m, "$track: was live") or next;
        is_deeply($f->problems, [], "$track: nothing changed that must not");
        is($f->{gaps}, 0, "$track: no gap was made up")
            unless $case->{slow} || $case->{gap};

        my @segments = @{ $m->{segments} };
        cmp_ok(scalar @segments, '>=', 4, "$track: segments came")
            or diag($m->{text});

        my $discontinuities = grep { $_->{discontinuity} } @segments;
        is($discontinuities, $case->{discontinuities} // 0,
           "$track: discontinuities are as they should be")
            unless $case->{apart};

        $frames{$track} = frames($case, $track, $m);
    }

    return if grep { !$_ } @frames{qw(source audio)};

    # the first frames may have come before the other track was heard of
    my ($video, $audio) = ($frames{source}[2] - 2 / 30,
                           $frames{audio}[2] - 2 * 1024 / 48000);

    cmp_ok(abs($audio - $video - ($case->{behind} // 0)), '<', 0.1,
           'audio and video are as far apart as they were sent')
        or diag("video from $video, audio from $audio")
        unless $case->{apart};

    # all that was sent until now is on the timeline, once
    my $lasted = $frames{source}[-1] - $frames{source}[0];
    cmp_ok($lasted, '>', SECONDS - 8, 'the timeline has gone on');
    cmp_ok($lasted, '<', SECONDS + 2, 'and not beyond what was sent');

    like($case->{publisher}->output, qr/ publishing /, 'the publisher was let')
        and unlike($case->{publisher}->output, qr/ closed /, 'and not cut');
}


# The times of a track's frames, as ffprobe sees them.
sub frames {
    my ($case, $track, $m) = @_;

    my (%media, %listed, @maps, @times);
    my $file = "$t->{dir}/$case->{stream}{id}.mp4";

    for my $segment (@{ $m->{segments} }) {
        my $map = $segment->{map}{URI};

        push @maps, $map unless $media{$map};

        for my $uri ($media{$map} ? () : $map, $segment->{uri}) {
            my $r = $t->get($t->path($case->{stream}, $track, $uri));
            is($r->{status}, 200, "$track: $uri is served") or return undef;
            $media{$map} .= $r->{body};
        }

        $listed{$map} += $segment->{duration};
    }

    is(scalar @maps, $case->{change} ? 2 : 1,
       "$track: as many init segments as configurations") or diag("@maps");

    for my $map (@maps) {
        Livestream::Test::write_file($file, $media{$map});

        my $json = `ffprobe -v error -of json -show_packets \Q$file\E 2>&1`;
        my $packets = eval { decode_json($json)->{packets} };

        ok($packets, "$track: ffprobe reads what belongs to $map")
            or diag($json), return undef;

        my @dts = map { $_->{dts_time} } @$packets;
        my $sum = $dts[-1] + ($packets->[-1]{duration_time} // 0) - $dts[0];

        # what is missing at the beginning may be told by a gap
        cmp_ok(abs($sum - $listed{$map}), '<', 0.1 + ($case->{gap} ? 0.4 : 0),
               "$track: it is as long as its playlist says")
            or diag("$sum, not $listed{$map}");

        push @times, @dts;
    }

    my @steps = map { $times[$_] - $times[$_ - 1] } 1 .. $#times;

    cmp_ok(min(@steps), '>', 0, "$track: time goes forward");
    cmp_ok(max(@steps), '<', $case->{hole} // 0.15, "$track: without a hole")
        unless $case->{apart};

    return \@times;
}
