package Livestream::Test::Served;

# Copyright (C) nginx-livestream contributors
#
# What viewers of a live stream were served, to be held against its recording:
#
#     my $v = Livestream::Test::Served->new($t, $stream, qw(source audio));
#     ...                            # the broadcast goes on, and ends
#     ok($v->ended, 'viewers see the end');
#     my $r = $v->recording($rid);
#     is_deeply([$r->faults], [], 'it is what viewers were served');
#
# new() starts a viewer of each track, a process that fetches every part and
# every segment as they come, until it sees ENDLIST.  It comes back when the
# connection is lost.
#
#     ended($seconds)         have all of them seen ENDLIST?
#     stop()                  ends them
#     parts($track)           how many parts were served until now
#     segments($track)        how many segments
#     wait_segments($n)       until each track has had that many
#     wait_parts($n)          the same of parts
#     bytes()                 of what was served
#
# recording($rid) fetches a finished recording, following redirects:
#
#     {tracks}{NAME}          the playlist, a ::M3U8; each of its segments has
#                             {bytes}, unless it is a gap
#     {redirects}             how many of the files were elsewhere
#     {duration} {media}      seconds of the longest track, without its gaps
#     {size}                  bytes of segments and initialization segments
#     {gaps} {breaks}         numbers of segments that are gaps, that open with
#                             a discontinuity
#     faults()                what is wrong with it, in words: a list that
#                             should be empty
#     complaints()            of ffmpeg, decoding all of it
#
# Exported:
#
#     recordings($t, $stream)             of the API, the oldest first
#     wait_recordings($t, $stream, $status, $n, $seconds)
#                                         until there are so many, all of that
#                                         status; them
#     notices($t)                         the error log without what is [info]
#
# What is not in the recording, or twice, or not byte for byte what was served,
# is a fault; so is a playlist that is not a whole VOD playlist, tracks that do
# not have the same media sequence and discontinuities, and times that do not
# go on.

use v5.28;
use warnings;

use Cwd qw(abs_path);
use Digest::MD5 qw(md5_hex);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use JSON::PP;
use List::Util qw(max min sum0);
use Time::HiRes qw(sleep time);
use Time::Local qw(timegm);

use Livestream::Test ();
use Livestream::Test::HTTP;
use Livestream::Test::M3U8;

our @EXPORT = qw(recordings wait_recordings notices);

# of EXTINF and PROGRAM-DATE-TIME, which have six and three digits
use constant { TICK => 0.00002, MILLISECOND => 0.0021 };

my $lib = abs_path(dirname(__FILE__) . '/../..');
my $viewers = 0;


sub new {
    my ($class, $t, $stream, @tracks) = @_;

    my $dir = "$t->{dir}/served" . ++$viewers;
    my $v = bless { t => $t, stream => $stream, tracks => \@tracks,
                    dir => $dir, pids => {} }, $class;

    for my $track (@tracks) {
        make_path("$dir/$track");

        $v->{pids}{$track} = $t->spawn("served$viewers-$track", $^X, "-I$lib",
            '-MLivestream::Test::Served',
            '-e', 'Livestream::Test::Served::view(@ARGV)',
            $t->{http}, $t->path($stream, $track), "$dir/$track");
    }

    return $v;
}


# ---- the viewer: a process of its own

sub view {
    my ($port, $path, $dir) = @_;

    my $w = { port => $port, path => $path, dir => $dir, query => '',
              seen => {}, next => {} };

    open $w->{log}, '>>', "$dir/log" or die "$dir/log: $!\n";
    $w->{log}->autoflush(1);

    for ( ;; ) {
        my $r = fetch($w, "playlist.m3u8$w->{query}");

        if ($r->{status} != 200) {
            $w->{query} = '';
            sleep 0.05;
            next;
        }

        my $m = Livestream::Test::M3U8->parse($r->content, $r);

        # of the broadcast before
        if ($m->{endlist} && !%{ $w->{seen} }) {
            sleep 0.05;
            next;
        }

        take($w, $m);

        last if $m->{endlist};

        my $parts = @{ $m->{open}{parts} };
        $w->{query} = "?_HLS_msn=$m->{open}{msn}"
            . ($m->{part_inf} ? "&_HLS_part=$parts" : '');
    }

    say { $w->{log} } '{"end":true}';
}


sub fetch {
    my ($w, $name) = @_;

    if (!$w->{client} || $w->{client}->closed) {
        $w->{client} = Livestream::Test::HTTP->new(port => $w->{port},
                                                   timeout => 25);
    }

    my $r = $w->{client}->request(GET => "$w->{path}/$name");

    delete $w->{client} unless $r->{status};
    return $r;
}


sub take {
    my ($w, $m) = @_;

    for my $segment (@{ $m->{segments} }, $m->{open}) {
        take_part($w, $segment->{msn}, $_) for @{ $segment->{parts} };

        next if !defined $segment->{uri} || $w->{seen}{ $segment->{msn} };

        my %is = (map({ $_ => $segment->{$_} } qw(msn uri duration pdt)),
                  map => $segment->{map}{URI},
                  discontinuity => $segment->{discontinuity} ? 1 : 0,
                  gap => $segment->{gap} ? 1 : 0);

        if (!$segment->{gap}) {
            my $r = fetch($w, $segment->{uri});

            next if $r->{status} != 200;
            @is{qw(size md5)} = (length $r->{body}, md5_hex($r->{body}));
        }

        $w->{seen}{ $segment->{msn} } = 1;
        say { $w->{log} } encode_json({ segment => \%is });
    }
}


# A part that could not be had ends what is known of its segment.
sub take_part {
    my ($w, $msn, $part) = @_;

    my $next = \$w->{next}{$msn};

    return if $part->{index} != ($$next //= 0);
    return if ($part->{GAP} // '') eq 'YES' && ++$$next;

    my $r = fetch($w, $part->{URI});

    return if $r->{status} != 200;
    $$next++;

    open my $fh, '>>:raw', "$w->{dir}/$msn" or die "$w->{dir}/$msn: $!\n";
    print $fh $r->{body};
    close $fh;

    say { $w->{log} } encode_json({ part => [$msn, $part->{index}] });
}


# ---- what they saw

sub log_of {
    my ($v, $track) = @_;

    # a viewer that was killed may have left half a line
    return map { eval { decode_json($_) } // () }
           split /\n/, Livestream::Test::read_file("$v->{dir}/$track/log");
}


sub parts    { scalar grep { $_->{part} } $_[0]->log_of($_[1]) }
sub segments { scalar grep { $_->{segment} } $_[0]->log_of($_[1]) }


sub wait_segments {
    my ($v, $n, $seconds) = @_;

    return Livestream::Test::wait_for {
        !grep { $v->segments($_) < $n } @{ $v->{tracks} };
    } $seconds // 30;
}


sub wait_parts {
    my ($v, $n, $seconds) = @_;

    return Livestream::Test::wait_for {
        !grep { $v->parts($_) < $n } @{ $v->{tracks} };
    } $seconds // 30;
}


sub ended {
    my ($v, $seconds) = @_;

    my $ended = Livestream::Test::wait_for {
        !grep {
            Livestream::Test::read_file("$v->{dir}/$_/log") !~ /"end":true/
        } @{ $v->{tracks} };
    } $seconds // 20;

    $v->stop if $ended;

    return $ended;
}


sub stop {
    my ($v) = @_;

    for my $pid (values %{ $v->{pids} }) {
        kill KILL => $pid;
        Livestream::Test::reap($pid, 5);
    }

    $v->{pids} = {};
    return $v;
}


sub bytes {
    my ($v) = @_;

    return sum0(map { -s } map { glob "$v->{dir}/$_/[0-9]*" }
                @{ $v->{tracks} });
}


# ---- recordings

sub recordings {
    my ($t, $stream) = @_;

    my (undef, $list) = $t->api(GET =>
        "/livestreams/$stream->{id}/recordings?limit=100");

    return reverse @{ ($list // {})->{recordings} // [] };
}


sub wait_recordings {
    my ($t, $stream, $status, $n, $seconds) = @_;

    my @all;

    Livestream::Test::wait_for {
        @all = recordings($t, $stream);
        @all == ($n // 1) && !grep { $_->{status} ne $status } @all;
    } $seconds // 30;

    return @all == ($n // 1) && !grep({ $_->{status} ne $status } @all)
        ? @all : ();
}


sub notices {
    my ($t) = @_;

    return grep { !/\[info\]/ } split /^/, $t->log;
}


sub recording {
    my ($v, $rid) = @_;

    my $t = $v->{t};
    my $r = bless { t => $t, v => $v, rid => $rid, faults => [], tracks => {},
                    size => 0, redirects => 0, dir => "$v->{dir}/$rid",
                    path => $t->path($v->{stream}, 'recordings', $rid),
                  }, 'Livestream::Test::Served::Recording';

    my $master = $r->get('master.m3u8') // return $r;

    $r->{master} = Livestream::Test::M3U8->parse($master);
    $r->track($_) for $r->names;
    $r->sum;

    return $r;
}


package Livestream::Test::Served::Recording;

use Digest::MD5 qw(md5_hex);
use List::Util qw(max sum0);


sub fault { push @{ $_[0]{faults} }, $_[1]; return undef }


# The body of a file of the recording, wherever that is.
sub get {
    my ($r, $name) = @_;

    my $answer = $r->{t}->get("$r->{path}/$name");

    if ($answer->{status} =~ /^30[27]$/
        && $answer->{headers}{location}
           =~ m{^http://127\.0\.0\.1:(\d+)(/.*)})
    {
        $r->{redirects}++;
        $answer = Livestream::Test::HTTP->new(port => $1)
            ->request(GET => $2, headers => { Host => "127.0.0.1:$1" });
    }

    return $answer->content if $answer->{status} == 200;

    return $r->fault("$name: status $answer->{status}");
}


sub names {
    my ($r) = @_;

    my %name = map { m{^([^/]+)/playlist\.m3u8$} ? ($1 => 1) : () }
               map { $_->{uri} // $_->{URI} // () }
               @{ $r->{master}{variants} }, @{ $r->{master}{media} };

    return sort keys %name;
}


sub track {
    my ($r, $track) = @_;

    my $text = $r->get("$track/playlist.m3u8") // return;
    my $m = Livestream::Test::M3U8->parse($text);
    my %map;

    $r->{tracks}{$track} = $m;

    for my $segment (@{ $m->{segments} }) {
        my $map = $segment->{map}{URI};

        if (!defined $map) {
            $r->fault("$track: $segment->{uri} has no MAP")
                unless $segment->{gap};

        } elsif (!exists $map{$map}) {
            $map{$map} = $r->get("$track/$map") // '';
            $r->{size} += length $map{$map};
        }

        next if $segment->{gap};

        $segment->{init} = $map{ $map // '' };
        $segment->{bytes} = $r->get("$track/$segment->{uri}") // '';
        $r->{size} += length $segment->{bytes};
    }
}


sub sum {
    my ($r) = @_;

    my %seconds = map {
        $_ => [ map { [$_->{duration}, $_->{gap}] }
                @{ $r->{tracks}{$_}{segments} } ];
    } keys %{ $r->{tracks} };

    $r->{duration} = max(0, map { sum0(map { $_->[0] } @$_) }
                            values %seconds);
    $r->{media} = max(0, map { sum0(map { $_->[1] ? 0 : $_->[0] } @$_) }
                         values %seconds);

    my ($any) = sort keys %{ $r->{tracks} };
    my @segments = $any ? @{ $r->{tracks}{$any}{segments} } : ();

    $r->{gaps} = [map { $_->{msn} } grep { $_->{gap} } @segments];
    $r->{breaks} = [map { $_->{msn} } grep { $_->{discontinuity} } @segments];
}


sub faults {
    my ($r) = @_;

    my $tracks = $r->{tracks};

    for my $track (sort keys %$tracks) {
        $r->whole($track, $tracks->{$track});
        $r->times($track, $tracks->{$track});
    }

    $r->side_by_side;

    for my $track (@{ $r->{v}{tracks} }) {
        $tracks->{$track} ? $r->served($track, $tracks->{$track})
                          : $r->fault("$track: is not in it");
    }

    return @{ $r->{faults} };
}


# a VOD playlist of segments that are there once each
sub whole {
    my ($r, $track, $m) = @_;

    my %seen;

    $r->fault("$track: type " . ($m->{type} // 'none'))
        if ($m->{type} // '') ne 'VOD';
    $r->fault("$track: no ENDLIST") unless $m->{endlist};
    $r->fault("$track: no segments") unless @{ $m->{segments} };

    for my $tag (qw(EXT-X-PART EXT-X-PART-INF EXT-X-SERVER-CONTROL
                    EXT-X-PRELOAD-HINT EXT-X-SKIP EXT-X-RENDITION-REPORT))
    {
        $r->fault("$track: has $tag") if $m->{count}{$tag};
    }

    for my $segment (@{ $m->{segments} }) {
        my $msn = $segment->{msn};

        $r->fault("$track: $segment->{uri} is number $msn")
            if $segment->{uri} ne "segment-$msn.m4s";
        $r->fault("$track: $segment->{uri} is there twice")
            if $seen{ $segment->{uri} }++;
        $r->fault("$track: $segment->{uri} lasts $segment->{duration} s, "
                  . "the target is $m->{target}")
            if $segment->{duration} >= $m->{target} + 0.5;
        $r->fault("$track: $segment->{uri} is empty")
            if !$segment->{gap} && !length $segment->{bytes};
    }
}


sub times {
    my ($r, $track, $m) = @_;

    my $at;

    for my $segment (@{ $m->{segments} }) {
        my $pdt = defined $segment->{pdt} ? seconds($segment->{pdt}) : undef;

        $r->fault("$track: $segment->{uri} has no PROGRAM-DATE-TIME")
            if !defined $pdt && (!defined $at || $segment->{discontinuity});

        $r->fault(sprintf '%s: %s begins %.3f s from where the one before '
                          . 'ends', $track, $segment->{uri}, $pdt - $at)
            if defined $at && defined $pdt && !$segment->{discontinuity}
               && abs($pdt - $at) > Livestream::Test::Served::MILLISECOND;

        $at = ($pdt // $at // 0) + $segment->{duration};
    }
}


sub seconds {
    my ($text) = @_;

    $text =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+(?:\.\d+)?)Z$/
        or die "\"$text\" is no time\n";

    return Time::Local::timegm(0, $5, $4, $3, $2 - 1, $1) + $6;
}


# all tracks have the same numbers, gaps in time and discontinuities
sub side_by_side {
    my ($r) = @_;

    my %seen;

    for my $track (sort keys %{ $r->{tracks} }) {
        my $m = $r->{tracks}{$track};
        my @segments = @{ $m->{segments} } or next;

        $seen{join ' ', 'segments', $segments[0]{msn}, '-',
              $segments[-1]{msn}} .= " $track";
        $seen{join ' ', 'discontinuities', map { $_->{msn} }
              grep { $_->{discontinuity} } @segments} .= " $track";
        $seen{"target $m->{target}"} .= " $track";
    }

    for my $kind (qw(segments discontinuities target)) {
        my @all = grep { /^$kind/ } sort keys %seen;

        $r->fault(join '; ', map { "$_ in$seen{$_}" } @all) if @all > 1;
    }
}


# what viewers had, and have now
sub served {
    my ($r, $track, $m) = @_;

    my %is = map { $_->{msn} => $_ } @{ $m->{segments} };
    my $n = 0;

    for my $line ($r->{v}->log_of($track)) {
        my $was = $line->{segment} or next;
        my $is = $is{ $was->{msn} };

        $n++;

        # the wait for a publisher that did not come back
        next if !$is && $was->{gap} && $was->{msn} >= $m->{open}{msn};

        if (!$is) {
            $r->fault("$track: segment $was->{msn} was served and is not "
                      . 'there');
            next;
        }

        $r->same($track, $was, $is, $m);
    }

    $r->fault("$track: nobody was served a segment") unless $n;

    my $dir = "$r->{v}{dir}/$track";

    for my $path (glob "$dir/[0-9]*") {
        my ($msn) = $path =~ /(\d+)$/;
        my $parts = Livestream::Test::read_file($path);
        my $bytes = $is{$msn} ? $is{$msn}{bytes} // '' : '';

        $r->fault(sprintf '%s: %d bytes of parts of segment %d were served, '
                          . 'the recording\'s %d do not begin with them',
                  $track, length $parts, $msn, length $bytes)
            if substr($bytes, 0, length $parts) ne $parts;
    }
}


sub same {
    my ($r, $track, $was, $is, $m) = @_;

    my $name = "$track: segment $was->{msn}";
    my $gap = $is->{gap} ? 1 : 0;
    my $break = $is->{discontinuity} ? 1 : 0;

    return $r->fault("$name was " . ($gap ? 'served and is' : 'a gap and is '
                     . 'not') . ($gap ? ' a gap' : ''))
        if $was->{gap} != $gap;

    $r->fault("$name lasted $was->{duration} s and lasts $is->{duration} s")
        if abs($was->{duration} - $is->{duration})
           > Livestream::Test::Served::TICK;

    # at the beginning there is nothing to break with
    $r->fault("$name: its discontinuity was $was->{discontinuity} and is "
              . $break)
        if $was->{discontinuity} != $break
           && $is != $m->{segments}[0];

    return if $gap;

    $r->fault("$name had $was->{size} bytes and has "
              . length($is->{bytes})
              . ($was->{size} == length $is->{bytes} ? ', others' : ''))
        if md5_hex($is->{bytes}) ne $was->{md5};
}


# Each run of segments of one initialization segment as a file of its own: what
# ffmpeg makes of gaps in a playlist is its own affair.
sub complaints {
    my ($r) = @_;

    my $text = '';

    File::Path::make_path($r->{dir});

    for my $track (sort keys %{ $r->{tracks} }) {
        my ($n, $last, $fh) = (0, '');

        for my $segment (@{ $r->{tracks}{$track}{segments} }) {

            if ($segment->{gap} || $segment->{discontinuity}
                || $segment->{map}{URI} ne $last)
            {
                undef $fh;
            }

            next if $segment->{gap};

            if (!$fh) {
                open $fh, '>:raw', "$r->{dir}/$track-" . ++$n . '.mp4'
                    or die "$r->{dir}: $!\n";
                $fh->autoflush(1);
                print $fh $segment->{init};
                $last = $segment->{map}{URI};
            }

            print $fh $segment->{bytes};
        }
    }

    for my $path (sort glob "$r->{dir}/*.mp4") {
        my $log = `ffprobe -v error -count_frames -show_streams \Q$path\E \\
                   2>&1 >/dev/null`;

        $text .= "$path: $log" if $? || $log ne '';
    }

    return $text;
}


1;
