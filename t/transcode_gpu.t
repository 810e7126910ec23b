# A GPU that is not there, that refuses, or that is lost in mid-stream, and a
# ladder that shows it: by a driver of our own (t/fake-gpu), which says what it
# is told to, decodes a gradient and encodes nothing.

use Livestream::Test;
use Livestream::Bench;
use Livestream::Test::Ladder;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use List::Util qw(min);

use constant GRADIENT => 220;

my %libraries = (cuda => 'libcuda.so.1', nvdec => 'libnvcuvid.so.1',
                 nvenc => 'libnvidia-encode.so.1');
my %built = (cuda => 'cuda', nvdec => 'nvcuvid', nvenc => 'nvenc');

my $here = abs_path(dirname(__FILE__));
my $bench = Livestream::Bench->new(Livestream::Test->new);
my $fake = "$bench->{t}{build}/fake-gpu";

$bench->locked(sub {
    system('make', '-s', '-C', "$here/fake-gpu", "BUILD=$fake") == 0
        or die "the fake driver can't be built\n";
});

my @x264 = ('libx264', '-preset', 'veryfast', '-sc_threshold', 0, '-bf');
my @x265 = ('libx265', '-preset', 'ultrafast', '-tag:v', 'hvc1',
            '-x265-params', 'log-level=error:keyint=30:min-keyint=30:'
            . 'scenecut=0:open-gop=0:bframes=0');
my $clip = $bench->clip(video => [@x264, 2]);
my $simple = $bench->clip(video => [@x264, 0]);
my $large = $bench->clip(video => [@x264, 0], size => '480x270');
my $hevc = $bench->clip(video => \@x265);
my $deep = $bench->clip(video => [@x264, 0, '-pix_fmt', 'yuv420p10le']);
my $combed = $bench->clip(fps => 60, video => [@x264, 0, '-vf', 'interlace',
                                               '-flags', '+ilme+ildct',
                                               '-g', 30]);

my $cpu = 'decoded on cpu, scaled on cpu, encoded on cpu';
my $half = 'decoded on gpu 0, scaled on gpu 0, encoded on cpu';
my $none = 'NVENC: the driver is missing or too old';
my $taken = 'NVENC: all sessions are taken, or no memory is left';
my $filtered = 'this source has to be filtered on the processor';
my $lost = 'gpu is not used from here on';

# Where it ends before the first picture, by what it is told to do, and why
# that is.

my @opening = (
    ['fail:cuInit', 'the driver cannot be initialised'],
    ['fail:cuInit:1:100', 'there is no GPU'],
    ['fail:cuDeviceGetCount', 'there is no GPU'],
    ['devices:0', 'there is no GPU'],
    ['fail:cuDeviceGet', 'the driver refuses the GPU'],
    ['fail:cuCtxCreate:1:2', 'the GPU gives no context'],
    ['fail:cuModuleLoadData', "the GPU's driver does not compile the kernel"],
    ['fail:cuModuleGetFunction', "the GPU's driver does not find the kernel"],
    ['fail:cuStreamCreate', 'the GPU takes no more streams'],
    ['fail:cuMemAlloc:1:2', 'it does not decode'],
    ['fail:cuMemAlloc:2:2', 'cuMemAlloc: out of memory'],
    ['fail:cuMemAllocHost:1:2', 'cuMemAllocHost: there is no pinned memory'],
    ['lost:cuLaunchKernel', 'cuLaunchKernel: '],
    ['lost:cuStreamSynchronize', 'cuStreamSynchronize: '],
);

# The same in mid-stream.

my @losses = (
    ['lost:cuLaunchKernel:45', 'cuLaunchKernel: '],
    ['lost:cuLaunchKernel:46', 'cuLaunchKernel: ', 'on'],
    ['lost:cuStreamSynchronize:50', 'cuStreamSynchronize: '],
    ['lost:cuMemcpyDtoHAsync:90', 'cuMemcpyDtoHAsync: '],
    ['lost:cuvidDecodePicture:45', 'it does not decode'],
    ['lost:cuvidMapVideoFrame:45', 'it does not decode'],
    ['lost:cuvidUnmapVideoFrame:45', ''],
    ['fail:cuCtxPushCurrent:400', ''],
    ['fail:cuMemcpyDtoHAsync:90:2', 'cuMemcpyDtoHAsync: '],
);

subtest 'what keeps it from opening' => \&openings;
subtest 'what there is of it' => \&parts;
subtest 'what it does not decode' => \&sources;
subtest 'lost in mid-stream' => \&losses;
subtest 'another source in mid-stream' => \&changes;
subtest 'reload, a killed worker, exit' => \&life;

done_testing();


# ---- machines

# An nginx of one worker, with a driver that has these parts of it and does as
# it is told.
sub machine {
    my ($parts, $told, $gpu) = @_;

    my $t = Livestream::Test->new(workers => 1,
        env => { FAKE_GPU => $told }, main => 'env FAKE_GPU;',
        livestream => "transcode on; gpu @{[ $gpu // 'auto' ]};
                       max_transcodes 32;
                       rung 180p 320x180 300k;
                       rung 90p 160x90 100k;
                       video_preset ultrafast;
                       keyframe_interval 1s;
                       segment_duration 1s;
                       part_duration 250ms;
                       playlist_length 60;
                       reconnect_window 5s;");

    mkdir "$t->{dir}/driver";
    $t->{env}{LD_LIBRARY_PATH} = "$t->{dir}/driver";

    # what cannot be loaded hides the system's
    for my $part (sort keys %libraries) {
        my $file = "$t->{dir}/driver/$libraries{$part}";

        if ($parts =~ /\b$part\b/) {
            copy("$fake/$built{$part}/$libraries{$part}", $file)
                or die "$file: $!\n";
        } else {
            Livestream::Test::write_file($file, '');
        }
    }

    return $t->start;
}


sub begin {
    my ($t, $file, @options) = @_;

    my $s = $t->create;
    local $bench->{t} = $t;

    return {
        t => $t, stream => $s,
        ladder => Livestream::Test::Ladder->new($t, $s),
        publisher => $bench->publish($s, $file, '--loop', @options),
    };
}


# What its log says of a stream's GPU, without what is before the words.
sub told {
    my ($c) = @_;

    return grep { /\bgpu\b|ended by/ }
           map { /\[(\w+)\] .*?stream $c->{stream}{id}: (.*)/
                 ? "$1: $2" : () }
           split /\n/, $c->{t}->log;
}


sub says {
    my ($c, $name, @lines) = @_;

    my @told = told($c);

    is(scalar @told, scalar @lines, "$name: lines that tell of it")
        or diag(join "\n", @told);
    like(shift @told // '', qr/^\Q$_/, "$name: which is right") for @lines;
}


sub runs {
    my ($where, $size) = @_;

    return "notice: @{[ $size // '320x180' ]} to 180p 90p in h264, $where";
}


# All tracks up to a segment: by the rules, side by side, no picture missing.
sub whole {
    my ($c, $name, $first, $last) = @_;

    my $l = $c->{ladder};

    ok($l->wait_tracks(@{ $c->{tracks} // [qw(source 180p 90p)] })
           && $l->wait_segment($last), "$name: it goes on")
        or diag(join(' ', $l->tracks), join "\n", '', told($c)), return;
    is_deeply([$l->problems], [], "$name: the playlists keep the rules");

    my $media = $l->media($first .. $last);

    is_deeply([Livestream::Test::Ladder::misaligned($media)], [],
              "$name: all tracks are cut at the same times");

    for my $track (sort keys %$media) {
        my $m = $media->{$track};
        my @at = sort { $a <=> $b } map { $_->{pts} } $m->samples;
        my @apart = map { $at[$_] - $at[$_ - 1] } 1 .. $#at;

        is_deeply([$m->faults], [], "$name: $track: samples are right");
        is_deeply([grep { $_ < 0.03 || $_ > 0.037 } @apart], [],
                  "$name: $track: every picture is there");
    }

    return 1;
}


sub unbroken {
    my ($c, $name) = @_;

    is_deeply([grep { $_ ne '' } values %{ $c->{ladder}->breaks }], [],
              "$name: no discontinuity");
    is(status($c), 'live', "$name: the stream is live");
}


sub status {
    my ($c) = @_;

    return ($c->{t}->api(GET => "/livestreams/$c->{stream}{id}"))[1]{status};
}


# The segment behind the only discontinuity; a source may be new there.
sub broken {
    my ($c, $name) = @_;

    my @breaks;

    wait_for {
        my $m = $c->{t}->playlist($c->{stream}, '90p') or return 0;
        @breaks = map { $_->{msn} } grep { $_->{discontinuity} }
                  @{ $m->{segments} };
    } 20;

    is(scalar @breaks, 1, "$name: one discontinuity")
        or diag(join "\n", told($c)), return;

    return $breaks[0];
}


sub media {
    my ($c, @what) = @_;

    return Livestream::Test::Media->new($c->{t}, $c->{stream}, @what);
}


# The processor's: what the source shows.
sub real {
    my ($c, $name, @msns) = @_;

    my ($source, $rung) = map { media($c, $_, @msns) } 'source', '180p';
    my @ssim = $rung->ssim($source, 'null');

    cmp_ok(min(@ssim), '>', 0.7, "$name: shows the source");
}


# The fake's: brightness goes up to the right, down and with each picture.
sub gradient {
    my ($c, $name, @msns) = @_;

    for my $track ('180p', '90p') {
        my $m = media($c, $track, @msns);
        my ($near, $far) = map { [$m->luma("scale=320:180,crop=8:8:$_")] }
                           '4:4', '104:64';
        my @times = grep { near($far->[$_] - $near->[$_], 160) } 0 .. $#$near;
        my @steps = grep { near($near->[$_] - $near->[$_ - 1], 1) }
                    1 .. $#$near;

        cmp_ok(@times / @$near, '>', 0.8, "$name: $track shows a gradient");
        cmp_ok(@steps / @$near, '>', 0.8, "$name: $track goes on with it");
    }
}


# by about so many of its steps, which ffmpeg stretches to 0 .. 255
sub near {
    my ($luma, $steps) = @_;

    my $is = $luma * 219 / 255 - $steps;

    return min(map { abs } $is, $is + GRADIENT, $is - GRADIENT) < 8;
}


sub finish {
    my (@cases) = @_;

    $_->{publisher}->stop for @cases;

    my %machines = map { $_->{t} => $_->{t} } @cases;

    $_->remember, $_->quit for values %machines;
    $_->stop for map { $machines{$_} } sort keys %machines;
}


# ---- what happens to them

sub openings {
    my @auto = map { begin(machine('cuda nvdec', $_->[0]), $clip) } @opening;

    my @on = map {
        my $c = begin(machine('cuda nvdec', $_->[0], 'on'), $clip);
        $c->{why} = $_->[1];
        $c;
    } @opening[0, 5, 9, 10, 11];

    for my $i (0 .. $#opening) {
        my ($name, $why) = @{ $opening[$i] };

        whole($auto[$i], $name, 0, 1) or next;
        says($auto[$i], $name, runs("$cpu; gpu: $why"));
        real($auto[$i], $name, 1);
        unbroken($auto[$i], $name);
    }

    refused($_, $_->{why}) for @on;

    finish(@auto, @on);
}


# Who asked for a GPU is told that there is none; others are not concerned.
sub refused {
    my ($c, $why) = @_;

    my $t = $c->{t};

    is($c->{publisher}->code, 4, "gpu on, $why: the publisher is sent away");
    ok((wait_for { status($c) eq 'error' }), 'the stream has status error');
    says($c, 'gpu on', "error: ended by an error: $why");

    my $next = $t->create(settings => { gpu_acceleration => JSON_FALSE });
    local $bench->{t} = $t;
    my $p = $bench->publish($next, $clip, '--loop');

    ok(Livestream::Test::Ladder->new($t, $next)->wait_tracks(
           qw(source 180p 90p)), 'one without a GPU is not harmed');
    $p->stop;
}


sub parts {
    my @cases = (
        ['no driver', '', "$cpu; gpu: there is no driver, libcuda.so.1"],
        ['neither', 'cuda', "$cpu; gpu: $none"],
        ['no decoder', 'cuda nvenc', "$cpu; gpu: $taken"],
        ['a decoder, no encoder', 'cuda nvdec', "$half; gpu: $none"],
        ['all sessions taken', 'cuda nvdec nvenc', "$half; gpu: $taken"],
    );

    my @live = map { begin(machine($_->[1], ''), $simple) } @cases;
    my $refused = begin(machine('cuda nvenc', '', 'on'), $simple);
    my $two = machine('cuda nvdec', 'devices:2');
    my @two = map { begin($two, $simple) } 1, 2;

    for my $i (0 .. $#cases) {
        my ($name, undef, $line) = @{ $cases[$i] };

        whole($live[$i], $name, 0, 2) or next;

        says($live[$i], $name, runs($line));
        unbroken($live[$i], $name);

        $line =~ /decoded on gpu/ ? gradient($live[$i], $name, 1, 2)
                                  : real($live[$i], $name, 1, 2);
    }

    refused($refused, '"gpu on", but it neither decodes nor encodes this');

    whole($_, 'two GPUs', 0, 1) for @two;

    my @where = sort map { join ' ', map { /decoded on (gpu \d)/ } told($_) }
                @two;

    is_deeply(\@where, ['gpu 0', 'gpu 1'], 'two GPUs: each has a stream');

    finish(@live, $refused, @two);
}


sub sources {
    my @rungs = qw(180p 90p);

    my @cases = (
        ['HEVC', $hevc, \@rungs, "$cpu; gpu: $taken"],
        ['10 bits', $deep, \@rungs, "$cpu; gpu: $taken"],
        ['interlaced', $combed, \@rungs, "$cpu; gpu: $filtered"],
    );

    my $t = machine('cuda nvdec nvenc', '');
    my @live = map {
        my $c = begin($t, $_->[1]);
        $c->{tracks} = $_->[2];
        $c;
    } @cases;

    my $refused = begin(machine('cuda nvdec', '', 'on'), $combed);

    for my $i (0 .. $#cases) {
        my ($name, undef, undef, $line) = @{ $cases[$i] };

        whole($live[$i], $name, 0, 2) or next;
        says($live[$i], $name, runs($line));
        unbroken($live[$i], $name);
    }

    refused($refused, $filtered);
    finish(@live, $refused);
}


sub losses {
    my @live = map { begin(machine('cuda nvdec', @$_[0, 2]), $clip) } @losses;
    my $pair = machine('cuda nvdec', 'lost:cuLaunchKernel:90');
    my @pair = map { begin($pair, $clip) } 1, 2;

    for my $i (0 .. $#losses) {
        my ($name, $why) = @{ $losses[$i] };

        whole($live[$i], $name, 0, 5) or next;

        says($live[$i], $name,
             runs("$half; gpu: $none"),
             "warn: $lost: $why");
        unbroken($live[$i], $name);
        real($live[$i], $name, 4, 5);
    }

    subtest 'with two streams' => \&shared, @pair;

    finish(@live, @pair);
}


sub shared {
    my (@live) = @_;

    for (@live) {
        whole($_, 'each', 0, 5) or next;
        says($_, 'each', runs("$half; gpu: $none"),
             "warn: $lost: ");
        unbroken($_, 'each');
        real($_, 'each', 4, 5);
    }

    my $next = begin($live[0]{t}, $clip);

    whole($next, 'the next one', 0, 1);
    $next->{publisher}->stop;
}


sub changes {
    my $t = machine('cuda nvdec', '');

    my @cases = (
        ['larger', [$simple, $large], [qw(source 180p 90p)],
         runs($half),
         runs($half, '480x270')],
        ['to one that it does not decode', [$simple, $hevc], [qw(180p 90p)],
         runs($half),
         runs($cpu)],
        ['to one that it decodes', [$hevc, $simple],
         [qw(source 180p 90p)],
         runs($cpu),
         runs($half)],
        ['to one that is to be filtered', [$simple, $combed], [qw(180p 90p)],
         runs($half), "warn: $lost: $filtered"],
    );

    my @live = map {
        my ($one, $other) = @{ $_->[1] };
        my $c = begin($t, $one, '--change-to', "3000:$other");
        $c->{tracks} = $_->[2];
        $c;
    } @cases;

    for my $i (0 .. $#cases) {
        my ($name, undef, undef, @lines) = @{ $cases[$i] };
        my $break = broken($live[$i], $name) // next;

        whole($live[$i], $name, $break, $break + 3);
        says($live[$i], $name, @lines);
    }

    finish(@live);
}


sub life {
    my $t = machine('cuda nvdec', '');
    my $one = begin($t, $clip);

    ok($one->{ladder}->wait_tracks(qw(source 180p 90p)), 'one is live');

    my @old = $t->workers;
    ok($t->reload, 'a reload');

    my $two = begin($t, $clip);

    whole($two, 'in a new worker', 0, 1);
    says($two, 'in a new worker', runs($half));
    whole($one, 'in the old worker', 0, 3);
    unbroken($one, 'in the old worker');

    kill KILL => @old;
    $one->{publisher}->wait;
    $t->allow(qr/exited on signal 9/);

    local $bench->{t} = $t;
    $one->{publisher} = $bench->publish($one->{stream}, $clip, '--loop');

    my $break = broken($one, 'its publisher comes back');

    whole($one, 'then', $break, $break + 1) if $break;
    says($one, 'and', (runs($half)) x 2);

    $t->remember;
    $t->quit;
    ok($t->ended(15), 'nginx ends although the publishers would not');
    $_->{publisher}->wait for $one, $two;
    $t->stop;
}
