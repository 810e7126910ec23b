package Livestream::Test::Conformance;

# Copyright (C) nginx-livestream contributors
#
# What RFC 8216bis asks of one playlist, as a table of rules.  Each of them
# has a short name and says what it found wrong:
#
#     my @wrong = Livestream::Test::Conformance::media($m);
#     is_deeply(\@wrong, [], 'the media playlist keeps all the rules');
#
# media($m)                 a parsed media playlist
# media($m, \@others)       also against the playlists of the other renditions
# master($m)                a parsed multivariant playlist
# init($bytes)              an initialization segment
# fragments($bytes)         the fragments of a segment or part: ({ dts, samples
#                           => [{ duration, size, cts, key }], size }, ...) or
#                           dies with the reason

use v5.28;
use warnings;

use List::Util qw(max sum0);

# durations are printed in microseconds
use constant EPSILON => 0.0000015;

my %once = map { $_ => 1 } qw(EXTM3U EXT-X-VERSION EXT-X-TARGETDURATION
    EXT-X-MEDIA-SEQUENCE EXT-X-DISCONTINUITY-SEQUENCE EXT-X-ENDLIST
    EXT-X-PLAYLIST-TYPE EXT-X-I-FRAMES-ONLY EXT-X-PART-INF
    EXT-X-SERVER-CONTROL EXT-X-INDEPENDENT-SEGMENTS EXT-X-START EXT-X-SKIP);

# a tag or attribute and the version that it needs
my @versions = (
    [qr/^#EXTINF:\d+\.\d/m, 3], [qr/^#EXT-X-BYTERANGE/m, 4],
    [qr/^#EXT-X-MAP/m, 6], [qr/^#EXT-X-SKIP/m, 9],
    [qr/RECENTLY-REMOVED-DATERANGES/, 10],
);

# what a playlist says of a segment before the first of its parts
my $of_segment
    = qr/^\#EXT-X-(?:DISCONTINUITY$|KEY|MAP|PROGRAM-DATE-TIME)/;

my @media = (
    ['ST-01', sub { $_[0]{text} =~ /\A#EXTM3U\r?\n/ ? ()
                    : 'does not open with #EXTM3U' }],
    ['ST-01', sub {
        my $type = $_[0]{response}{headers}{'content-type'} // '';
        $type =~ m{^(?:application/vnd\.apple\.mpegurl|audio/mpegurl)$}
            ? () : "content type \"$type\"";
    }],
    ['ST-02', sub {
        map { "$_ more than once" }
            grep { $once{$_} && $_[0]{count}{$_} > 1 } keys %{ $_[0]{count} };
    }],
    ['ST-03', sub {
        my $needed = max(1, map { $_->[1] }
                            grep { $_[0]{text} =~ $_->[0] } @versions);
        my $version = $_[0]{version} // 1;
        $version == $needed ? () : "version $version, needed is $needed";
    }],
    ['ST-04', sub {
        map { "segment $_->{msn} of $_->{duration} s" }
            grep { int($_->{duration} + 0.5) > $_[0]{target} }
            @{ $_[0]{segments} };
    }],
    ['ST-05', sub {
        my $skip = $_[0]{control}{'CAN-SKIP-UNTIL'} // return;
        $skip >= 6 * $_[0]{target} ? () : "CAN-SKIP-UNTIL=$skip";
    }],
    ['ST-06', sub {
        $_[0]{control}{'CAN-SKIP-DATERANGES'}
            && !$_[0]{control}{'CAN-SKIP-UNTIL'}
            ? 'CAN-SKIP-DATERANGES alone' : ();
    }],
    ['ST-07', sub {
        my $hold = $_[0]{control}{'HOLD-BACK'} // return;
        $hold >= 3 * $_[0]{target} ? () : "HOLD-BACK=$hold";
    }],
    ['ST-08', sub {
        $_[0]{count}{'EXT-X-PART'} && !$_[0]{part_inf}{'PART-TARGET'}
            ? 'parts without a PART-TARGET' : ();
    }],
    ['ST-09', sub {
        my $target = $_[0]{part_inf}{'PART-TARGET'} // return;
        my $hold = $_[0]{control}{'PART-HOLD-BACK'} // 0;
        $hold >= 3 * $target - EPSILON ? () : "PART-HOLD-BACK=$hold";
    }],
    ['ST-10', sub {
        my $target = $_[0]{part_inf}{'PART-TARGET'} // return;
        map { "$_->{URI} of $_->{DURATION} s" }
            grep { $_->{DURATION} > $target } $_[0]->parts;
    }],
    ['ST-11', \&short_parts],
    ['ST-13', sub {
        # the order of lines: what speaks of a segment is before its parts
        my ($parts, @wrong) = 0;
        for my $line (@{ $_[0]{lines} }) {
            $parts++ if $line =~ /^#EXT-X-PART:/;
            push @wrong, "$line behind a part of its segment"
                if $parts && $line =~ $of_segment;
            $parts = 0 if $line !~ /^#/ && $line =~ /\S/;
        }
        @wrong;
    }],
    ['ST-16', sub {
        # where its parent ends, from the end of the playlist
        my ($m) = @_;
        my $age = sum0(map { $_->{DURATION} } @{ $m->{open}{parts} });
        my @wrong;
        for my $segment (reverse @{ $m->{segments} }) {
            push @wrong, "parts of segment $segment->{msn}, $age s ago"
                if @{ $segment->{parts} } && $age > 3 * $m->{target} + 0.001;
            $age += $segment->{duration};
        }
        @wrong;
    }],
    ['ST-17', sub {
        my ($m) = @_;
        my @hints = grep { $_->{TYPE} eq 'PART' } @{ $m->{hints} };
        my $wanted = $m->{count}{'EXT-X-PART'} && !$m->{endlist} ? 1 : 0;
        @hints == $wanted ? () : @hints . " hints of a part, not $wanted";
    }],
    ['ST-19', sub {
        my ($m) = @_;
        my ($hint) = grep { $_->{TYPE} eq 'PART' } @{ $m->{hints} };
        $hint or return;
        (grep { $_->{URI} eq $hint->{URI} } $m->parts)
            ? "the hinted $hint->{URI} is there already" : ();
    }],
    ['ST-21', sub {
        my ($m) = @_;
        my @wrong;
        my $end;
        for my $segment (@{ $m->{segments} }) {
            my $pdt = pdt($segment->{pdt});
            if (!defined $pdt) {
                push @wrong, "segment $segment->{msn} has no date"
                    if !defined $end || $segment->{discontinuity};
                $pdt = $end // 0;
            }
            push @wrong, "the date of segment $segment->{msn} is "
                . ($pdt - $end) . ' s off'
                if defined $end && !$segment->{discontinuity}
                   && abs($pdt - $end) > 0.05;
            push @wrong, "the date of segment $segment->{msn} ran back by "
                . ($end - $pdt) . ' s'
                if defined $end && $pdt < $end - 1;
            $end = $pdt + $segment->{duration};
        }
        @wrong;
    }],
    ['ST-23', sub { $_[0]{type} && !$_[0]{endlist}
                    ? "PLAYLIST-TYPE $_[0]{type}" : () }],
    ['ST-24', sub {
        map { "segment $_->{msn} without EXT-X-MAP" }
            grep { !$_->{map}{URI} } @{ $_[0]{segments} };
    }],
    ['ST-26', sub {
        my ($m) = @_;
        my $length = sum0(map { $_->{duration} } @{ $m->{segments} });
        $m->{msn} > 0 && !$m->{endlist} && !$m->{skip}
            && $length < 3 * $m->{target}
            ? "only $length s after it slid" : ();
    }],
    ['ST-27', sub { map { "$_[0]{count}{$_} of $_" }
                    grep { $_[0]{count}{$_} }
                    qw(EXT-X-ALLOW-CACHE EXT-X-PROGRAM-ID) }],
    ['parts', sub {
        # a parent is as long as its parts
        map {
            my $parts = sum0(map { $_->{DURATION} } @{ $_->{parts} });
            @{ $_->{parts} } && abs($parts - $_->{duration}) > 0.001
                ? "segment $_->{msn} of $_->{duration} s has parts of $parts s"
                : ();
        } @{ $_[0]{segments} };
    }],
);

my @renditions = (
    ['ST-20', sub {
        my ($m, $others) = @_;
        return @{ $m->{reports} } ? 'reports behind the end' : ()
            if $m->{endlist};
        my @wrong;
        push @wrong, @{ $m->{reports} } . ' reports of ' . @$others
            . ' other renditions' if @{ $m->{reports} } != @$others;
        for my $report (@{ $m->{reports} }) {
            push @wrong, "absolute report of $report->{URI}"
                if $report->{URI} =~ m{^(?:/|\w+:)};
            push @wrong, "no LAST-MSN of $report->{URI}"
                unless defined $report->{'LAST-MSN'};
            push @wrong, "no LAST-PART of $report->{URI}"
                if $m->{part_inf} && !defined $report->{'LAST-PART'};
        }
        @wrong;
    }],
    ['MV-01', sub {
        my ($m, $others) = @_;
        my %dsn = map { $_->{msn} => $_->{dsn} } @{ $m->{segments} };
        my @wrong;
        for my $other (@$others) {
            push @wrong, "target durations $m->{target}, $other->{target}"
                if $m->{target} != $other->{target};
            for my $segment (@{ $other->{segments} }) {
                my $dsn = $dsn{ $segment->{msn} } // next;
                push @wrong, "discontinuity sequence of $segment->{msn}: $dsn,"
                    . " $segment->{dsn}" if $dsn != $segment->{dsn};
            }
        }
        @wrong;
    }],
    ['MV-02', sub {
        my ($m, $others) = @_;
        my $control = join ',', map { "$_=$m->{control}{$_}" }
                                sort keys %{ $m->{control} // {} };
        map {
            my $o = $_;
            my $its = join ',', map { "$_=$o->{control}{$_}" }
                                sort keys %{ $o->{control} // {} };
            $its eq $control ? () : "server control $control, $its";
        } @$others;
    }],
    ['DD-23', sub {
        # segments of one number begin together
        my ($m, $others) = @_;
        my %at = map { $_->{msn} => pdt($_->{pdt}) } @{ $m->{segments} };
        my $target = $m->{part_inf}{'PART-TARGET'} // $m->{target};
        map {
            map {
                my ($here, $there) = ($at{ $_->{msn} }, pdt($_->{pdt}));
                defined $here && defined $there
                    && abs($here - $there) > $target
                    ? "segment $_->{msn} begins " . ($there - $here)
                      . ' s apart' : ();
            } @{ $_->{segments} };
        } @$others;
    }],
);

my @master = (
    ['ST-01', $media[0][1]],
    ['ST-01', $media[1][1]],
    ['MV', sub { @{ $_[0]{variants} } ? () : 'no variant' }],
    ['MV-03', sub {
        my ($m) = @_;
        my @wrong;
        for my $variant (@{ $m->{variants} }) {
            my @needed = qw(BANDWIDTH AVERAGE-BANDWIDTH CODECS);
            push @needed, qw(RESOLUTION FRAME-RATE CLOSED-CAPTIONS)
                if ($variant->{CODECS} // '') =~ /avc|hvc|hev|av01|vp09/;
            push @wrong, map { "$variant->{uri} without $_" }
                grep { !defined $variant->{$_} } @needed;
            push @wrong, "$variant->{uri}: audio group without its codec"
                if $variant->{AUDIO}
                   && $variant->{CODECS} !~ /mp4a|opus|fLaC/i;
        }
        @wrong;
    }],
    ['MV-04', sub {
        map { "$_->{uri}: AVERAGE-BANDWIDTH over BANDWIDTH" }
            grep { $_->{'AVERAGE-BANDWIDTH'} > $_->{BANDWIDTH} }
            @{ $_[0]{variants} };
    }],
    ['groups', sub {
        my ($m) = @_;
        my %groups = map { $_->{'GROUP-ID'} => 1 } @{ $m->{media} };
        map { "$_->{uri}: no group \"$_->{AUDIO}\"" }
            grep { $_->{AUDIO} && !$groups{ $_->{AUDIO} } }
            @{ $m->{variants} };
    }],
);


sub run {
    my ($rules, @arg) = @_;

    return map {
        my ($name, $rule) = @$_;
        map { "$name: $_" } $rule->(@arg);
    } @$rules;
}


sub media {
    my ($m, $others) = @_;

    return (run(\@media, $m), $others ? run(\@renditions, $m, $others) : ());
}


sub master { run(\@master, @_) }


# A part may be under 85 % of PART-TARGET if it is independent, a gap, before a
# gap, or the last of its segment.
sub short_parts {
    my ($m) = @_;

    my $target = $m->{part_inf}{'PART-TARGET'} // return;
    my @wrong;

    for my $segment (@{ $m->{segments} }, $m->{open}) {
        my @parts = @{ $segment->{parts} };

        for my $i (0 .. $#parts) {
            my $part = $parts[$i];

            next if $part->{DURATION} >= 0.85 * $target - EPSILON
                || ($part->{INDEPENDENT} // '') eq 'YES'
                || ($part->{GAP} // '') eq 'YES'
                || $i < $#parts && ($parts[$i + 1]{GAP} // '') eq 'YES'
                || $i == $#parts;       # of an open one we cannot know yet

            push @wrong, "$part->{URI} of $part->{DURATION} s";
        }
    }

    return @wrong;
}


# seconds since 1970 of an RFC 3339 date, or undef
sub pdt {
    my ($text) = @_;

    require Time::Local;

    ($text // '') =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+(?:\.\d+)?)Z$/
        or return undef;

    my $s = $6;
    return Time::Local::timegm_modern(0, $5, $4, $3, $2 - 1, $1) + $s;
}


# ---- media

# ([type, offset of the body, size of the body], ...) between two offsets
sub boxes {
    my ($bytes, $from, $to) = @_;

    my @boxes;

    while ($from < $to) {
        $to - $from >= 8 or die "box header cut off at $from\n";

        my ($size, $type) = unpack 'N a4', substr $bytes, $from, 8;
        my $header = 8;

        if ($size == 1) {
            $size = unpack 'Q>', substr $bytes, $from + 8, 8;
            $header = 16;
        }

        $size >= $header && $from + $size <= $to
            or die "box \"$type\" at $from has size $size\n";

        push @boxes, [$type, $from + $header, $size - $header];
        $from += $size;
    }

    return @boxes;
}


# the first box at a path of types
sub box {
    my ($bytes, @path) = @_;

    my ($from, $size) = (0, length $bytes);

    for my $type (@path) {
        my ($found) = grep { $_->[0] eq $type }
                      boxes($bytes, $from, $from + $size);
        $found or return;
        ($from, $size) = @$found[1, 2];
    }

    return substr $bytes, $from, $size;
}


sub init {
    my ($bytes) = @_;

    my @wrong;
    my @top = map { $_->[0] } boxes($bytes, 0, length $bytes);

    "@top" =~ /^ftyp (?:\w+ )*moov/ or push @wrong, "ST-24: boxes @top";

    my $ftyp = box($bytes, 'ftyp') // '';
    my @brands = (substr($ftyp, 0, 4), unpack '(a4)*', substr $ftyp, 8);
    grep { /^iso([6-9])$/ || /^cmf/ } @brands
        or push @wrong, "ST-24: brands @brands";

    my $moov = box($bytes, 'moov') // return (@wrong, 'ST-24: no moov');
    my @traks = grep { $_->[0] eq 'trak' } boxes($moov, 0, length $moov);
    @traks == 1 or push @wrong, 'ST-24: ' . @traks . ' tracks';

    box($moov, 'mvex', 'trex') or push @wrong, 'ST-24: no mvex';

    my $stbl = box($moov, qw(trak mdia minf stbl)) // '';

    for my $type (qw(stts stsc stco)) {
        my $count = unpack 'x4 N', box($stbl, $type) // "\0\0\0\0\0\0\0\1";
        push @wrong, "ST-24: $count entries in $type" if $count;
    }

    my ($count) = unpack 'x8 N', box($stbl, 'stsz') // pack 'x8 N', 1;
    push @wrong, "ST-24: $count samples in stsz" if $count;

    for my $path ([qw(mvhd)], [qw(trak mdia mdhd)]) {
        my $box = box($moov, @$path) // next;
        my $duration = unpack('C', $box) ? unpack 'x24 Q>', $box
                                         : unpack 'x16 N', $box;
        push @wrong, "ST-24: duration $duration in $path->[-1]" if $duration;
    }

    return @wrong;
}


sub timescale {
    my ($init) = @_;

    my $mdhd = box($init, qw(moov trak mdia mdhd));
    return unpack('C', $mdhd) ? unpack 'x20 N', $mdhd : unpack 'x12 N', $mdhd;
}


sub fragments {
    my ($bytes) = @_;

    my @fragments;
    my ($moof, $at);

    for my $box (boxes($bytes, 0, length $bytes)) {
        my ($type, $from, $size) = @$box;

        if ($type eq 'moof') {
            $moof = substr $bytes, $from, $size;
            $at = $from - 8;

        } elsif ($type eq 'mdat') {
            push @fragments, fragment($moof // die("mdat without a moof\n"),
                                      $from - $at, $size);
            undef $moof;
        }
    }

    return @fragments;
}


sub fragment {
    my ($moof, $data, $size) = @_;

    my $tfhd = unpack 'N', box($moof, qw(traf tfhd)) // die "no tfhd\n";
    $tfhd & 0x020000 && !($tfhd & 1) or die "addresses are not moof's\n";

    my ($default, $default_size, $default_flags) = defaults($moof);

    my $tfdt = box($moof, qw(traf tfdt)) // die "no tfdt\n";
    my $dts = unpack unpack('C', $tfdt) ? 'x4 Q>' : 'x4 N', $tfdt;

    my $trun = box($moof, qw(traf trun)) // die "no trun\n";
    my ($flags, $count) = unpack 'N N', $trun;
    my $p = 8;
    my $next = sub { $p += 4; unpack 'N', substr $trun, $p - 4, 4 };

    $flags &= 0xffffff;

    my $offset = $flags & 1 ? $next->() : die "no data offset\n";
    my $first = $flags & 4 ? $next->() : undef;
    my @samples;

    for my $i (0 .. $count - 1) {
        my %sample = (
            duration => $flags & 0x100 ? $next->() : $default,
            size     => $flags & 0x200 ? $next->() : $default_size,
        );
        my $its = $flags & 0x400 ? $next->()
                : $i == 0 ? $first // $default_flags : $default_flags;

        $sample{key} = !($its & 0x10000);
        $sample{cts} = $flags & 0x800 ? unpack 'l', pack 'l', $next->() : 0;
        push @samples, \%sample;
    }

    my $sum = sum0(map { $_->{size} } @samples);
    $offset == $data or die "data offset $offset, it is at $data\n";
    $sum == $size or die "samples of $sum bytes in $size\n";

    return { dts => $dts, samples => \@samples, size => $size };
}


sub defaults {
    my ($moof) = @_;

    my $tfhd = box($moof, qw(traf tfhd));
    my $flags = unpack('N', $tfhd) & 0xffffff;
    my $p = 8;

    return map {
        my ($bit, $length) = @$_;
        my $value = 0;

        if ($flags & $bit) {
            $value = unpack 'N', substr $tfhd, $p, 4;
            $p += $length;
        }

        $bit >= 8 && $bit <= 0x20 ? $value : ();
    } [1, 8], [2, 4], [8, 4], [0x10, 4], [0x20, 4];
}


1;
