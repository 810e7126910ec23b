package Livestream::Test::Follow;

# Copyright (C) nginx-livestream contributors
#
# A viewer that follows one media playlist with blocking reloads, and holds
# each answer against the one before:
#
#     my $f = Livestream::Test::Follow->new($t, $stream, 'source');
#     $f->run(5);                       # seconds, or until ENDLIST
#     is_deeply($f->problems, [], 'nothing is wrong between reloads');
#
# {playlist} is the newest one, {parts} how many new parts were seen, {gaps}
# how many of them were GAP=YES, {slowest} the longest time between two answers
# with a new part, {statuses} how often each HTTP status was answered,
# {reconnects} how often the server had closed the connection.

use v5.28;
use warnings;

use Time::HiRes qw(time);


sub new {
    my ($class, $t, $stream, $track, %option) = @_;

    return bless { t => $t, stream => $stream, track => $track // 'source',
                   query => '', option => \%option, problems => [], parts => 0,
                   gaps => 0, slowest => 0, statuses => {}, reconnects => 0,
                   seen => {}, discontinuities => 0 }, $class;
}


sub problems { $_[0]{problems} }


sub run {
    my ($f, $seconds, $until) = @_;

    my $end = time() + Livestream::Test::slow($seconds);

    while (time() < $end) {
        my $m = $f->step or next;

        last if $m->{endlist} || $until && $until->($f);
    }

    return $f;
}


# One request; the playlist, or undef if there was none.
sub step {
    my ($f) = @_;

    my $path = $f->{t}->path($f->{stream}, $f->{track}, 'playlist.m3u8')
               . $f->{query};

    if (!$f->{client} || $f->{client}->closed) {
        $f->{reconnects}++ if $f->{client};
        $f->{client} = $f->{t}->client(timeout => 25);
    }

    my $r = $f->{client}->request(GET => $path);
    $f->{statuses}{ $r->{status} }++;

    if ($r->{status} != 200) {
        delete $f->{client};
        return undef;
    }

    my $m = Livestream::Test::M3U8->parse($r->content, $r);

    $f->compare($m);
    $f->{playlist} = $m;

    my $parts = @{ $m->{open}{parts} };
    $f->{query} = $m->{part_inf}
        ? "?_HLS_msn=$m->{open}{msn}&_HLS_part=$parts"
        : "?_HLS_msn=$m->{open}{msn}";

    return $m;
}


sub wrong {
    my ($f, $text) = @_;

    push @{ $f->{problems} }, $text;
}


# what may change from one reload to the next, and what may not
sub compare {
    my ($f, $m) = @_;

    my $old = $f->{playlist};

    for my $segment (@{ $m->{segments} }) {
        my $is = join ' ', $segment->{uri}, $segment->{duration},
            map { $_ // '-' } $segment->{map}{URI}, $segment->{pdt},
                $segment->{discontinuity} ? 1 : 0, $segment->{gap} ? 1 : 0;
        my $was = $f->{segment}{ $segment->{msn} } //= $is;

        $f->wrong("segment $segment->{msn} was \"$was\" and is \"$is\"")
            if $was ne $is;
    }

    my $new = 0;

    for my $part ($m->parts) {
        my $is = "$part->{URI} $part->{DURATION}";
        my $was = $f->{seen}{ $part->{URI} };

        if (!defined $was) {
            $new++;
            $f->{gaps}++ if ($part->{GAP} // '') eq 'YES';
            $f->{seen}{ $part->{URI} } = $is;

        } elsif ($was ne $is) {
            $f->wrong("part was \"$was\" and is \"$is\"");
        }
    }

    $f->{parts} += $new;

    if ($new || @{ $m->{segments} } && !$old
        || $old && $m->{open}{msn} > $old->{open}{msn})
    {
        my $now = time();
        my $waited = $now - ($f->{answered} // $now);

        $f->{slowest} = $waited if $waited > $f->{slowest};
        $f->{answered} = $now;
    }

    $f->{discontinuities} += grep { $_->{discontinuity} && $old
                                    && $_->{msn} >= $old->{open}{msn} }
                             @{ $m->{segments} };

    $old or return;

    for my $number (qw(msn dsn)) {
        $f->wrong("$number ran back from $old->{$number} to $m->{$number}")
            if $m->{$number} < $old->{$number};
    }

    $f->wrong("the target duration changed")
        if $m->{target} != $old->{target};

    $f->wrong("PART-INF changed")
        if ($m->{part_inf}{'PART-TARGET'} // '')
            ne ($old->{part_inf}{'PART-TARGET'} // '');

    $f->wrong("segments were skipped: $old->{open}{msn} was open, the oldest "
              . "is $m->{msn}")
        if $m->{msn} > $old->{open}{msn};

    my $removed = grep { $_->{discontinuity} && $_->{msn} < $m->{msn} }
                  @{ $old->{segments} };

    $f->wrong("$removed discontinuities went, the sequence went from "
              . "$old->{dsn} to $m->{dsn}")
        if $m->{dsn} - $old->{dsn} != $removed;
}


1;
