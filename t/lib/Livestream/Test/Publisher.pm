package Livestream::Test::Publisher;

# Copyright (C) nginx-livestream contributors
#
# ffmpeg as a publisher, in the background, in real time.
#
#     my $p = $t->publish($stream, gop => 1, bframes => 2);
#     ...
#     $p->stop;           or $p->kill (like a cable pulled), $p->wait
#
# Options and their defaults:
#     key      the stream's           url      instead of url and key
#     video    1                      audio    1
#     size     320x180                fps      30 (also 30000/1001)
#     gop      1 (seconds)            bframes  0
#     vcodec   libx264                rate     48000 (audio samples a second)
#     acodec   aac                    duration forever (seconds)
#     offset   0 (seconds that timestamps start at)
#     input    arguments instead of the generated picture and tone
#     args     arguments before the output
#
# The picture is ffmpeg's testsrc2, the tone a sine.

use v5.28;
use warnings;


sub start {
    my ($class, $t, $stream, %o) = @_;

    %o = (video => 1, audio => 1, size => '320x180', fps => 30, gop => 1,
          bframes => 0, vcodec => 'libx264', rate => 48000, acodec => 'aac',
          args => [], %o);

    $o{key} //= ref $stream ? $stream->{stream_key} : $stream;
    $o{url} //= "rtmp://127.0.0.1:$t->{rtmp}/live/$o{key}";

    my @argv = ('ffmpeg', '-hide_banner', '-nostdin', '-loglevel', 'warning',
                $o{input} ? @{ $o{input} } : input(%o),
                $o{offset} ? ('-output_ts_offset', $o{offset}) : (),
                encoders(%o), @{ $o{args} }, '-f', 'flv', $o{url});

    my $name = 'publisher' . ++$t->{npublishers};
    my $pid = $t->spawn($name, @argv);

    return bless { t => $t, pid => $pid, name => $name }, $class;
}


sub input {
    my (%o) = @_;

    my @duration = $o{duration} ? ('-t', $o{duration}) : ();

    return (
        $o{video} ? ('-re', '-f', 'lavfi', @duration, '-i',
                     "testsrc2=size=$o{size}:rate=$o{fps}") : (),
        $o{audio} ? ('-re', '-f', 'lavfi', @duration, '-i',
                     "sine=frequency=440:sample_rate=$o{rate}") : (),
    );
}


sub encoders {
    my (%o) = @_;

    my ($num, $den) = split m{/}, $o{fps};
    my $frames = int($o{gop} * $num / ($den // 1) + 0.5);
    my @video = ('-c:v', $o{vcodec}, '-pix_fmt', 'yuv420p', '-g', $frames);

    if ($o{vcodec} eq 'libx264') {
        push @video, '-preset', 'ultrafast', '-keyint_min', $frames,
            '-sc_threshold', 0, '-b:v', '300k', '-bf', $o{bframes},
            '-x264-params', 'threads=1',
            $o{bframes} ? () : ('-tune', 'zerolatency');
    }

    return (
        $o{video} ? @video : '-vn',
        $o{audio} ? ('-c:a', $o{acodec}, '-b:a', '64k') : '-an',
    );
}


sub pid { $_[0]{pid} }

sub running { !$_[0]{ended} && !defined $_[0]->wait(0) }

# The exit status once it has ended within $seconds, else undef.
sub wait {
    my ($p, $seconds) = @_;

    return $p->{status} if $p->{ended};

    my $status = Livestream::Test::reap($p->{pid}, $seconds // 20);

    return undef unless defined $status;

    $p->{ended} = 1;
    return $p->{status} = $status;
}


# as a user ends it: the trailer is written and the stream unpublished
sub stop {
    my ($p) = @_;

    return if $p->{ended};

    CORE::kill(INT => $p->{pid});
    defined $p->wait(10) or $p->kill;
}


# at once, without a word to the server but the closed connection
sub kill {
    my ($p) = @_;

    return if $p->{ended};

    CORE::kill(KILL => $p->{pid});
    $p->wait(5);
}


# still connected, but silent
sub freeze { CORE::kill(STOP => $_[0]{pid}) }

sub thaw { CORE::kill(CONT => $_[0]{pid}) }

sub output {
    my ($p) = @_;

    return Livestream::Test::read_file("$p->{t}{dir}/$p->{name}.log");
}


1;
