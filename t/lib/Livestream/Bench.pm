package Livestream::Bench;

# Copyright (C) nginx-livestream contributors
#
# The programs of bench/ as parts of tests: built when they are missing or
# old, and clips for them, made once by ffmpeg and kept beside them.
#
#     my $b = Livestream::Bench->new($t);
#     my $clip = $b->clip(video => ['libx264', '-bf', 2], audio => ['aac']);
#     my $p = $b->publish($s, $clip, '--loop', '--start-ts', 4294960000);
#     ok($p->event('publishing'), 'it is accepted');
#     $p->stop;
#
# publish() takes a stream (or a key); $p is a Livestream::Test::Publisher
# with event(NAME, seconds), which waits for a line of that event and returns
# what follows the key (or 1), and code(), the exit code.
#
# ahead($s, seconds => 3600) publishes a small clip in a loop, that much of it
# as fast as nginx takes it, and returns when the stream goes on in real time.
# A day takes some ten seconds.
#
#     clip     what clip() takes        track    source (that must grow)
#     args     further options          patience 120 (seconds)
#     each     is called a few times a second meanwhile
#
# $p->{begin} is then the date of its first picture, in seconds since 1970.
#
# follow($s, @tracks) starts viewers of some of a stream's playlists, who fetch
# its parts too, until they are stopped; then result() is what they measured.

use v5.28;
use warnings;

use Digest::SHA qw(sha1_hex);
use Fcntl qw(:flock);
use File::Path qw(make_path);
use JSON::PP;

use Livestream::Test::Publisher;

our @ISA = qw(Livestream::Test::Publisher);

my %size = (size => '320x180', fps => 30, gop => 1, rate => 48000,
            seconds => 6, channels => 2);

# As many frames of audio as fit, so that a loop has no seam; and hardly any
# bytes, since there may be days of it.
my %small = (size => '64x36', fps => 2, gop => 2, rate => 16000, seconds => 8,
             channels => 1, audio => ['aac', '-af', 'volume=0', '-b:a', '8k'],
             video => ['libx264', '-preset', 'ultrafast',
                       '-tune', 'zerolatency', '-qp', 51]);


sub new {
    my ($class, $t) = @_;

    my $b = bless { t => $t, dir => "$t->{build}/bench" }, 'Livestream::Bench';

    make_path("$b->{dir}/clips");
    $b->locked(sub {
        system('make', '-s', '-C', 'bench', "BUILD=$t->{build}") == 0
            or die "bench/ can't be built\n";
    });

    return $b;
}


# Tests run side by side, but build and encode one at a time.
sub locked {
    my ($b, $code) = @_;

    open my $lock, '>', "$b->{dir}/lock" or die "$b->{dir}/lock: $!\n";
    flock $lock, LOCK_EX;

    return $code->();
}


# The path of an MP4 file: video and audio are the encoder and its arguments,
# either may be left out; picture is a source of libavfilter's.
sub clip {
    my ($b, %o) = @_;

    %o = (%size, %o);

    my $gop = $o{gop} * $o{fps};
    my @argv = (
        $o{video} ? ('-f', 'lavfi', '-t', $o{seconds}, '-i',
                     $o{picture} // "testsrc2=size=$o{size}:rate=$o{fps}")
                  : (),
        $o{audio} ? ('-f', 'lavfi', '-t', $o{seconds}, '-i',
                     "sine=frequency=440:sample_rate=$o{rate}",
                     '-ac', $o{channels}) : (),
        $o{video} ? ('-pix_fmt', 'yuv420p', '-g', $gop,
                     '-c:v', @{ $o{video} }) : (),
        $o{audio} ? ('-c:a', @{ $o{audio} }) : (),
        '-strict', '-2', '-f', 'mp4',
    );

    my $file = "$b->{dir}/clips/" . substr(sha1_hex("@argv"), 0, 16) . '.mp4';

    $b->locked(sub {
        return if -s $file;

        my $log = `nice ffmpeg -v error -y @{[map { quotemeta } @argv]
            } \Q$file.new\E 2>&1`;
        die "ffmpeg could not make a clip: $log\n" if $?;
        rename "$file.new", $file or die "$file: $!\n";
    });

    return $file;
}


sub publish {
    my ($b, $stream, $clip, @options) = @_;

    my $t = $b->{t};
    my $key = ref $stream ? $stream->{stream_key} : $stream;
    my $name = 'bench' . ++$t->{npublishers};

    my $pid = $t->spawn($name, "$b->{dir}/publish", @options, $clip,
                        "rtmp://127.0.0.1:$t->{rtmp}/live/$key");

    my $p = bless { t => $t, pid => $pid, name => $name },
                  'Livestream::Bench';

    push @{ $t->{publishers} }, $p;
    return $p;
}


sub ahead {
    my ($b, $stream, %o) = @_;

    my $clip = $b->clip(%small, %{ $o{clip} // {} });
    my $url = $b->{t}->url($stream, $o{track} // 'source', 'playlist.m3u8');
    my $p = $b->publish($stream, $clip, '--loop', '--ahead',
                        int($o{seconds} * 1000), '--watch', $url,
                        @{ $o{args} // [] });

    my $next = 0;

    Livestream::Test::wait_for(sub {
        if ($o{each} && Livestream::Test::now() > $next) {
            $o{each}->();
            $next = Livestream::Test::now() + 0.2;
        }

        $p->output =~ /^[\d.]+ (?:ahead|stuck|refused|closed) /m
    }, $o{patience} // 120);

    ($p->{begin}) = $p->output =~ /^[\d.]+ ahead .* begin=([\d.]+)/m
        or die "not published:\n", $p->output;

    return $p;
}


sub event {
    my ($p, $event, $seconds) = @_;

    return Livestream::Test::wait_for(sub {
        return $p->output =~ /^[\d.]+ \Q$event\E \S+ ?(.*)$/m && ($1 || 1);
    }, $seconds // 10);
}


sub code {
    my ($p, $seconds) = @_;

    my $status = $p->wait($seconds // 20);
    return defined $status ? $status >> 8 : undef;
}


sub follow {
    my ($b, $stream, @tracks) = @_;

    my $t = $b->{t};
    my $name = 'viewers' . ++$t->{npublishers};

    my $pid = $t->spawn($name, "$b->{dir}/viewers", '--json', '--parts',
                        '--viewers', 3, '--seconds', 3600,
                        map { $t->url($stream, $_, 'playlist.m3u8') } @tracks);

    my $v = bless { t => $t, pid => $pid, name => $name },
                  'Livestream::Bench';

    push @{ $t->{publishers} }, $v;
    return $v;
}


sub result {
    my ($v) = @_;

    return eval { decode_json($v->output) }
        // die "the viewers said: @{[ $v->output ]}\n";
}


1;
