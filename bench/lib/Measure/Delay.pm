package Measure::Delay;

# Copyright (C) nginx-livestream contributors
#
# How much later a viewer has a picture for its being transcoded: two streams
# of the same clip, one passed through, one with the default ladder, on one
# server; for each part, from its end by PROGRAM-DATE-TIME to its being told
# to a viewer that waits for it.  What players add is the same for both.
#
# BENCH_PARTS (60)

use v5.28;
use warnings;

use Time::HiRes qw(time);
use Time::Local qw(timegm);

use Measure qw(median option row say_so programs clip720);


sub run {
    my $server = Measure->server(workers => 2);
    my $clip = clip720($server);
    my %stream = (
        source => $server->create(title => 'As it is'),
        map { $_ => $server->create(title => 'Ladder',
                               settings => { enable_transcoding => \1 }) }
        '720p',
    );

    my @publishers = map { programs($server)->publish($_, $clip, '--loop') }
                     values %stream;

    my %delay = map {
        $server->wait_live($stream{$_}, $_, 30) or die "$_ is not there\n";
        $_ => [delays($server, $stream{$_}, $_)];
    } qw(source 720p);

    $_->stop for @publishers;
    $server->end;

    my ($plain, $ladder) = map { 1000 * median(@{ $delay{$_} }) }
                           qw(source 720p);

    say_so(sprintf 'a part is told of %.0f ms behind its end, %.0f ms with '
           . 'the ladder', $plain, $ladder);

    return row('ladder: a viewer has a part later by, median',
               sprintf('%.0f ms (%.0f / %.0f)', $ladder - $plain, $ladder,
                       $plain),
               '250 ms', $ladder - $plain <= 250);
}


# seconds, of one part after the other
sub delays {
    my ($server, $stream, $track) = @_;

    my $list = $server->playlist($stream, $track);
    my @delays;

    while (@delays < option(PARTS => 60)) {
        my ($msn, $part) = ($list->{open}{msn},
                            scalar @{ $list->{open}{parts} });

        $list = $server->playlist($stream, $track,
                                  "_HLS_msn=$msn&_HLS_part=$part")
            or die "$track: no playlist\n";

        my $now = time;

        for my $segment ($list->{open}, reverse @{ $list->{segments} }) {
            next unless $segment->{pdt} && @{ $segment->{parts} };

            my $end = seconds($segment->{pdt});
            $end += $_->{DURATION} for @{ $segment->{parts} };
            push @delays, $now - $end;
            last;
        }
    }

    return @delays;
}


sub seconds {
    my ($text) = @_;

    my ($y, $m, $d, $h, $min, $s, $ms) = $text
        =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)\.(\d+)Z$/
        or die "no date: $text\n";

    return timegm($s, $min, $h, $d, $m - 1, $y) + $ms / 1000;
}


1;
