package Livestream::Test::M3U8;

# Copyright (C) nginx-livestream contributors
#
# A playlist as a structure, for tests to look into.  Attribute lists are
# hashes, with their quotes taken off.
#
#   {text} {response} {lines}
#   {tags}            [[NAME, VALUE], ...] in order; NAME without its "#"
#   {count}{NAME}     how often a tag is there
#   {version} {target} {msn} {dsn} {endlist} {type}
#   {control} {part_inf} {skip}       SERVER-CONTROL, PART-INF, SKIP
#   {segments}        [{ uri, duration, title, msn, parts, tags, map, pdt,
#                        discontinuity, gap, bitrate, byterange, dsn }, ...]
#                     msn counts from MEDIA-SEQUENCE, skipped ones included
#   {open}            the same for what follows the last segment: {msn},
#                     {parts}, {map}, {pdt}, {discontinuity}
#   part              { URI, DURATION, INDEPENDENT, GAP, index, msn, ... }
#   {hints}           PRELOAD-HINTs
#   {reports}         RENDITION-REPORTs
#   {variants}        [{ uri, BANDWIDTH, CODECS, ... }, ...]
#   {media}           EXT-X-MEDIA
#
# parts() lists all parts, those of the open segment too.

use v5.28;
use warnings;


sub attributes {
    my ($text) = @_;

    my %a;

    while ($text =~ /\G([A-Z0-9-]+)=("([^"\r\n]*)"|[^",\s][^",]*)(?:,|$)/gc) {
        $a{$1} = $3 // $2;
    }

    return \%a;
}


my %single = (
    'EXT-X-VERSION'                => 'version',
    'EXT-X-TARGETDURATION'         => 'target',
    'EXT-X-MEDIA-SEQUENCE'         => 'msn',
    'EXT-X-DISCONTINUITY-SEQUENCE' => 'dsn',
    'EXT-X-PLAYLIST-TYPE'          => 'type',
);

my %attributes = (
    'EXT-X-SERVER-CONTROL' => 'control',
    'EXT-X-PART-INF'       => 'part_inf',
    'EXT-X-SKIP'           => 'skip',
    'EXT-X-START'          => 'start',
);

my %list = (
    'EXT-X-PRELOAD-HINT'     => 'hints',
    'EXT-X-RENDITION-REPORT' => 'reports',
    'EXT-X-MEDIA'            => 'media',
    'EXT-X-DATERANGE'        => 'dateranges',
);

# of the segment that follows
my %next = (
    'EXT-X-PROGRAM-DATE-TIME' => 'pdt',
    'EXT-X-BITRATE'           => 'bitrate',
    'EXT-X-BYTERANGE'         => 'byterange',
);


sub parse {
    my ($class, $text, $response) = @_;

    my $m = bless {
        text => $text, response => $response, tags => [], count => {},
        segments => [], variants => [], hints => [], reports => [],
        media => [], dateranges => [], lines => [split /\r?\n/, $text],
    }, $class;

    my $open = { parts => [], tags => [] };
    my $variant;

    for my $line (@{ $m->{lines} }) {
        if ($line =~ /^#(EXT[A-Z0-9-]*)(?::(.*))?$/) {
            my ($name, $value) = ($1, $2 // '');

            push @{ $m->{tags} }, [$name, $value];
            push @{ $open->{tags} }, [$name, $value];
            $m->{count}{$name}++;

            if ($name eq 'EXT-X-STREAM-INF') {
                $variant = attributes($value);

            } else {
                $m->tag($open, $name, $value);
            }

        } elsif ($line =~ /^[^#]/) {
            if ($variant) {
                push @{ $m->{variants} }, { %$variant, uri => $line };
                undef $variant;

            } else {
                $open->{uri} = $line;
                push @{ $m->{segments} }, $open;
                $open = { parts => [], tags => [], map => $open->{map} };
            }
        }
    }

    $m->{open} = $open;
    $m->number;

    return $m;
}


sub tag {
    my ($m, $open, $name, $value) = @_;

    if (my $field = $single{$name}) {
        $m->{$field} = $value;

    } elsif ($field = $attributes{$name}) {
        $m->{$field} = attributes($value);

    } elsif ($field = $list{$name}) {
        push @{ $m->{$field} }, attributes($value);

    } elsif ($field = $next{$name}) {
        $open->{$field} = $value;

    } elsif ($name eq 'EXTINF') {
        @$open{qw(duration title)} = split /,/, $value, 2;

    } elsif ($name eq 'EXT-X-MAP') {
        $open->{map} = attributes($value);

    } elsif ($name eq 'EXT-X-PART') {
        push @{ $open->{parts} }, attributes($value);

    } elsif ($name eq 'EXT-X-DISCONTINUITY') {
        $open->{discontinuity} = 1;

    } elsif ($name eq 'EXT-X-GAP') {
        $open->{gap} = 1;

    } elsif ($name eq 'EXT-X-ENDLIST') {
        $m->{endlist} = 1;
    }
}


sub number {
    my ($m) = @_;

    my $msn = ($m->{msn} // 0) + ($m->{skip}{'SKIPPED-SEGMENTS'} // 0);
    my $dsn = $m->{dsn} // 0;

    delete $m->{skip} unless $m->{skip} && %{ $m->{skip} };

    for my $segment (@{ $m->{segments} }, $m->{open}) {
        $dsn++ if $segment->{discontinuity};

        my $index = 0;
        $_->{index} = $index++, $_->{msn} = $msn for @{ $segment->{parts} };

        $segment->{msn} = $msn++;
        $segment->{dsn} = $dsn;
    }
}


sub parts { map { @{ $_->{parts} } } @{ $_[0]{segments} }, $_[0]{open} }


1;
