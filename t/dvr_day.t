# A broadcast of 24 hours in which something grows with every hour: the
# playlist, the zone, memory, descriptors, or without DVR the files; or in
# which a number is left out, or a segment of the recording is missing or there
# twice.  Hours go by at the speed of the machine, with the timestamps that
# they have.

use Livestream::Test;

use List::Util qw(max min sum0);

use constant { HOURS => 24, WINDOW => 7200, SEGMENT => 6, MIB => 1048576 };

# removing tens of thousands of files takes some disks longer than all the rest
$ENV{TMPDIR} //= '/dev/shm' if -w '/dev/shm';

subtest 'with DVR' => \&recorded;
subtest 'without' => \&forgotten;

done_testing();


sub recorded {
    my $t = Livestream::Test->new(livestream => 'dvr on;
        default_dvr_window 2h; segment_duration 6s; part_duration 500ms;');
    $t->start;

    my $s = $t->create;
    my @seen;
    my $p = $t->publish_fast($s, seconds => HOURS * 3600,
                             each => sub { push @seen, look($t, $s) });

    push @seen, look($t, $s);
    unlike($t->log, qr/frames are dropped/, 'nothing was dropped');

    my $m = $seen[-1]{playlist};
    cmp_ok($m->{open}{msn}, '>=', HOURS * 3600 / SEGMENT - 10,
           HOURS . ' hours were published');
    cmp_ok(scalar @seen, '>', 5, 'and looked at now and then')
        or diag(scalar @seen);

    numbers(\@seen);
    windows(\@seen);

    my $delta = $t->playlist($s, 'source', '_HLS_skip=YES');
    cmp_ok(length $delta->{text}, '<=', 0.03 * length $m->{text},
           'a delta update is small');

    bounded('zone', 0, @seen);
    bounded('memory', 4 * MIB, @seen);
    bounded('descriptors', 4, @seen);

    my ($dir) = glob "$t->{dir}/data/media/recordings/$s->{id}/*";
    complete($t, $dir, $m->{open}{msn});

    my $r = $t->get($t->path($s, 'source', "segment-$m->{msn}.m4s"));
    is($r->{status}, 200, 'the far end of the window is served');

    $p->kill;
    $t->stop;
}


# what there is at a moment; nothing before the stream can be played
sub look {
    my ($t, $s) = @_;

    my $m = $t->playlist($s, 'source') or return;
    my @workers = $t->workers;
    my @smaps = map { Livestream::Test::read_file("/proc/$_/smaps") } @workers;
    my @status = map { Livestream::Test::read_file("/proc/$_/status") }
                 @workers;

    return {
        playlist => $m,
        zone => max(map {
            sum0(m{/dev/zero[^\n]*\n(?:\w+:[^\n]*\n)*?Rss:\s+(\d+)}g) * 1024
        } @smaps),
        memory => 1024 * sum0(map { /^RssAnon:\s+(\d+)/m ? $1 : 0 } @status),
        descriptors => sum0(map { scalar(() = glob "/proc/$_/fd/*") }
                            @workers),
    };
}


sub numbers {
    my ($seen) = @_;

    my ($last, @wrong) = 0;

    for my $m (map { $_->{playlist} } @$seen) {
        my $msn = $m->{msn};

        push @wrong, "the oldest went from $last to $msn" if $msn < $last;
        $last = $msn;

        for my $segment (@{ $m->{segments} }) {
            push @wrong, "$segment->{uri} is number $msn"
                if $segment->{uri} ne "segment-$msn.m4s";
            $msn++;
        }

        push @wrong, 'a discontinuity' if $m->{dsn};
    }

    is_deeply(\@wrong, [], 'numbers go on by one');
}


# all that has been until two hours are there, then these
sub windows {
    my ($seen) = @_;

    my @wrong;

    for my $m (map { $_->{playlist} } @$seen) {
        my $length = sum0(map { $_->{duration} } @{ $m->{segments} });

        push @wrong, "$length s after $m->{msn} segments"
            if $m->{msn} && $length < WINDOW - 0.001
               || $length > WINDOW + SEGMENT;
    }

    is_deeply(\@wrong, [], 'the window stays at two hours');
}


# from the third hour on
sub bounded {
    my ($what, $slack, @seen) = @_;

    my @values = map { $_->{$what} }
                 grep { $_->{playlist}{open}{msn} > 3 * 3600 / SEGMENT } @seen;

    cmp_ok(max(@values), '<=', $values[0] + $slack, "no growth of $what")
        or diag("@values");
}


sub complete {
    my ($t, $dir, $open) = @_;

    for my $track (qw(source audio)) {
        my (%times, @gaps, $end);

        wait_for {
            Livestream::Test::read_file("$dir/index")
                =~ /^segment $track @{[ $open - 1 ]} /m;
        };

        for (split /\n/, Livestream::Test::read_file("$dir/index")) {
            my ($msn, $start, undef, $duration)
                = /^segment $track (\d+) (-?\d+) (\d+) (\d+) / or next;

            $times{$msn}++;
            push @gaps, $msn if defined $end && $start != $end;
            $end = $start + $duration;
        }

        my @msns = sort { $a <=> $b } keys %times;

        is("$msns[0] to $msns[-1]", '0 to ' . $#msns,
           "$track: the index has all segments");
        is_deeply([grep { $times{$_} > 1 } @msns], [], 'each of them once');
        is_deeply(\@gaps, [], 'one behind the other');

        my @missing = grep { !-s "$dir/$track/segment-$_.m4s" } @msns;
        is_deeply(\@missing, [], 'with its file');
        cmp_ok(scalar(() = glob "$dir/$track/*.m4s"), '<=', @msns + 2,
               'and there are no others');
    }
}


# A quarter of it, in shorter segments: what has left the playlist stays for as
# long as viewers may ask for it, in real time, and is counted only then.
sub forgotten {
    my $t = Livestream::Test->new(livestream => 'playlist_length 3;
        segment_duration 2s; part_duration 500ms;');
    $t->start;

    my $s = $t->create;
    my @seen;
    my $p = $t->publish_fast($s, seconds => HOURS / 4 * 3600,
                             each => sub { push @seen, look($t, $s) });

    push @seen, look($t, $s);
    unlike($t->log, qr/frames are dropped/, 'nothing was dropped');

    numbers(\@seen);
    cmp_ok(max(map { scalar @{ $_->{playlist}{segments} } } @seen), '<=', 4,
           'the playlist stays short');

    bounded('zone', 0, @seen);
    bounded('descriptors', 4, @seen);

    my $media = "$t->{dir}/data/media";
    my $files;

    my $few = wait_for {
        $files = () = glob "$media/$s->{id}/*/*/*.m4s";
        $files < 30;
    } 60;

    ok($few, 'files go') or diag("there are $files");

    ok(!-e "$media/recordings/$s->{id}", 'nothing is recorded');

    $p->kill;
    $t->stop;
}
