package Livestream::Test::Ladder;

# Copyright (C) nginx-livestream contributors
#
# A transcoded stream as its viewers see it: which tracks the multivariant
# playlist names, and whether their segments lie side by side.
#
#     my $l = Livestream::Test::Ladder->new($t, $stream);
#
#     ok($l->wait_tracks(qw(source 720p 240p)), 'the ladder is there');
#     $l->wait_segment(9);
#     my $media = $l->media(0 .. 9);          # { track => ::Media }
#     is_deeply([misaligned($media)], [], 'all tracks are cut together');
#
#   master()              the multivariant playlist now, or undef
#   variants()            of it, by track: { '720p' => {...}, ... }
#   tracks()              their names, and "audio" where there is a group
#   wait_tracks(@names)   until it has these tracks of video and no other
#   wait_segment($msn)    until all of its tracks list that segment; false if
#                         they do not in time
#   listed()              the segments' numbers that all tracks list, no gaps
#   media(@msns)          of all tracks
#   breaks()              by track, the numbers of the segments that all list
#                         and that open with a discontinuity, as a text
#   problems()            what Conformance says of all playlists now
#   follow($msn)          follows all tracks side by side until they have that
#                         segment; what was wrong, each once.  Of each track,
#                         {followed}{NAME} is the viewer
#
# Functions:
#
#   misaligned($media, $edge)
#                         what lies apart; $edge is how many seconds the last
#                         segments before a discontinuity may
#   threads($t)           { name => how many } of the workers' threads that
#                         streams have
#   memory($t)            bytes that the workers have in memory

use v5.28;
use warnings;

use List::Util qw(max min sum0);
use Time::HiRes qw(time);

use Livestream::Test::Conformance;
use Livestream::Test::Follow;
use Livestream::Test::Media;

# of AAC at 44.1 kHz
use constant AUDIO_FRAME => 1024 / 44100;
use constant EDGE => 0.25;


sub new {
    my ($class, $t, $stream) = @_;

    return bless { t => $t, stream => $stream }, $class;
}


sub master { $_[0]{t}->master_playlist($_[0]{stream}) }


sub variants {
    my ($l) = @_;

    my $master = $l->master or return {};

    return { map { $_->{uri} =~ m{^([^/]+)/} ? ($1 => $_) : () }
             grep { $_->{RESOLUTION} } @{ $master->{variants} } };
}


sub tracks {
    my ($l) = @_;

    return names($l->master // return);
}


sub names {
    my ($master) = @_;

    my %name = map { $_ => 1 }
               map { m{^([^/]+)/} ? $1 : () }
               map { $_->{uri} // $_->{URI} // () }
               @{ $master->{variants} }, @{ $master->{media} };

    return sort keys %name;
}


sub wait_tracks {
    my ($l, @names) = @_;

    my $wanted = join ' ', sort @names;

    return Livestream::Test::wait_for {
        join(' ', sort keys %{ $l->variants }) eq $wanted;
    } 20;
}


sub wait_segment {
    my ($l, $msn, $seconds) = @_;

    my @tracks = $l->tracks;

    return @tracks && Livestream::Test::wait_for {
        for my $track (@tracks) {
            my $m = $l->{t}->playlist($l->{stream}, $track) or return 0;
            return 0 if $m->{open}{msn} <= $msn;
        }
        1;
    } $seconds // 30;
}


sub listed {
    my ($l) = @_;

    my @tracks = $l->tracks;
    my %times;

    for my $track (@tracks) {
        my $m = $l->{t}->playlist($l->{stream}, $track) or return;
        $times{ $_->{msn} }++ for grep { !$_->{gap} } @{ $m->{segments} };
    }

    return sort { $a <=> $b } grep { $times{$_} == @tracks } keys %times;
}


sub breaks {
    my ($l) = @_;

    my %list = map { $_ => $l->{t}->playlist($l->{stream}, $_) } $l->tracks;
    my $from = max(map { $_->{msn} } values %list);
    my $to = min(map { $_->{open}{msn} } values %list);

    return { map {
        $_ => join ' ', map { $_->{msn} } grep {
            $_->{discontinuity} && $_->{msn} > $from && $_->{msn} < $to
        } @{ $list{$_}{segments} };
    } keys %list };
}


sub media {
    my ($l, @msns) = @_;

    return { map {
        $_ => Livestream::Test::Media->new($l->{t}, $l->{stream}, $_, @msns)
    } $l->tracks };
}


# one that is hidden has no reports in the others
sub check {
    my ($master, %list) = @_;

    my @wrong = map { "master: $_" }
                Livestream::Test::Conformance::master($master);
    my @seen = grep { $list{$_} } names($master);

    for my $track (sort keys %list) {
        my @others = map { $list{$_} } grep { $_ ne $track } @seen;

        push @wrong, map { "$track: $_" }
            Livestream::Test::Conformance::media($list{$track}, \@others);
    }

    return @wrong;
}


sub problems {
    my ($l) = @_;

    return check($l->master, map {
        $_ => $l->{t}->playlist($l->{stream}, $_)
    } $l->tracks);
}


sub follow {
    my ($l, $msn) = @_;

    my %f = map {
        $_ => Livestream::Test::Follow->new($l->{t}, $l->{stream}, $_)
    } $l->tracks;
    my $end = time() + Livestream::Test::slow(60);
    my $behind = 1;
    my %wrong;

    while ($behind && time() < $end) {
        my %list;

        for my $track (sort keys %f) {
            my $m = $f{$track}->step or $wrong{"$track: no answer"}++;
            $list{$track} = $m if $m;
        }

        $wrong{$_}++ for check($l->master, %list);

        $behind = grep {
            !$list{$_} || $list{$_}{open}{msn} <= $msn
        } keys %f;
    }

    $wrong{"segment $msn is not there in time"}++ if $behind;

    $l->{followed} = \%f;

    for my $track (keys %f) {
        $wrong{"$track: $_"}++ for @{ $f{$track}->problems };
    }

    return sort keys %wrong;
}


# ---- functions

# All tracks of video begin and last alike, to the millisecond; audio to one
# of its frames.  Where a publisher begins or ends he may have video first, and
# which pictures were the last depends on their order.
sub misaligned {
    my ($media, $far) = @_;

    $far //= EDGE;

    my @video = grep { $media->{$_}{kind} eq 'video' } sort keys %$media;
    my $first = $media->{ $video[0] };
    my %at = map { $_->{msn} => $_ } @{ $first->{segments} };
    my @wrong;

    for my $track (sort keys %$media) {
        my $audio = $media->{$track}{kind} eq 'audio';
        my $next;

        for my $segment (reverse @{ $media->{$track}{segments} }) {
            my $other = $at{ $segment->{msn} };
            my $end = $next && $next->{discontinuity};
            my $edge = $end || !$segment->{msn} || $segment->{discontinuity};
            my $length = $end ? $far : EDGE;
            my %slack = $audio ? $edge ? (dts => EDGE, duration => $length)
                        : (dts => AUDIO_FRAME, duration => AUDIO_FRAME)
                : (dts => 0.001, pts => 0.001,
                   duration => $edge ? $length : 0.001);

            $next = $segment;

            if (!$other) {
                push @wrong, "$track: $segment->{msn} is not in $video[0]";
                next;
            }

            for my $what (sort 'dsn', keys %slack) {
                push @wrong, "$track: $what of $segment->{msn} is "
                    . "$segment->{$what}, in $video[0] $other->{$what}"
                    if abs($segment->{$what} - $other->{$what})
                        > ($slack{$what} // 0);
            }
        }
    }

    return @wrong;
}


sub threads {
    my ($t) = @_;

    my %names;

    for my $pid ($t->workers('all')) {
        for my $file (glob "/proc/$pid/task/*/comm") {
            my ($task) = $file =~ m{(\d+)/comm$};
            chomp(my $name = Livestream::Test::read_file($file));
            next if $task == $pid || $name eq '' || $name =~ /^dvr-/;
            $names{$name}++;
        }
    }

    return \%names;
}


sub memory {
    my ($t) = @_;

    return sum0(map {
        Livestream::Test::read_file("/proc/$_/status") =~ /^VmRSS:\s+(\d+)/m
            ? $1 * 1024 : 0;
    } $t->workers('all'));
}


1;
