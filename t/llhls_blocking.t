# A request for what is not there yet that is answered too early, too late, or
# never: blocking reloads, delta updates, preload hints, and their ends.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 12;');
$t->start;

my $s = $t->create(title => 'Asked too early');
my ($path, $audio)
    = map { $t->path($s, $_, 'playlist.m3u8') } qw(source audio);

subtest 'before there is anything to play' => sub {
    is($t->get($_)->{status}, 404, "without a publisher: $_")
        for $t->path($s, 'master.m3u8'), $path,
            $t->path('00000000-0000-4000-8000-000000000000', 'master.m3u8');
};

my $p = $t->publish($s, gop => 1);

subtest 'the first playlists' => sub {
    my @paths = ($t->path($s, 'master.m3u8'), $path, $audio,
                 "$path?_HLS_msn=0&_HLS_part=0");
    my @held;

    # from the moment that the publisher is accepted

    wait_for {
        @held = map { $t->client->send(GET => $_) } @paths;
        !grep { $_->readable(0.05) } @held;
    } or diag($t->log);

    my @r = map { $_->recv } @held;

    is($r[$_]{status}, 200, "held, then answered: $paths[$_]") for 0 .. $#r;

    for (1 .. 3) {
        my $m = Livestream::Test::M3U8->parse($r[$_]{body});
        cmp_ok(scalar @{ $m->{segments} }, '>=', 1, 'with a whole segment');
    }
};


# The playlist when one of the first two parts of a segment has just come, so
# that half a second is left until the next one.
sub fresh {
    for (1 .. 50) {
        my $m = edge();
        my $n = $m->{open}{msn};
        my $k = @{ $m->{open}{parts} };

        my $new = Livestream::Test::M3U8->parse(
            $t->get("$path?_HLS_msn=$n&_HLS_part=$k")->{body});

        my $parts = @{ $new->{open}{parts} };
        return $new if $parts == 1 || $parts == 2;
    }

    die "no part\n";
}


sub edge { $t->playlist($s) // die "no playlist\n" }

sub ask { $t->client->send(GET => "$path?$_[0]") }

sub parse { Livestream::Test::M3U8->parse($_[0]->content, $_[0]) }

sub listed {
    my ($m, $msn, $part) = @_;

    return $m->{open}{msn} > $msn unless defined $part;
    return grep { $_->{msn} > $msn
                  || $_->{msn} == $msn && $_->{index} >= $part } $m->parts;
}


subtest 'DD-01: a segment' => sub {
    my $m = fresh();
    my $msn = $m->{open}{msn};
    my $c = ask("_HLS_msn=$msn");

    ok(!$c->readable(0.3), 'held while the segment has but parts');
    my $r = $c->recv;
    is($r->{status}, 200, 'answered');
    is(parse($r)->{segments}[-1]{msn}, $msn, 'once it is whole');

    $r = ask('_HLS_msn=' . ($msn + 2))->recv;
    is($r->{status}, 200, 'two ahead');
    cmp_ok(parse($r)->{segments}[-1]{msn}, '>=', $msn + 2, 'are awaited');
};

subtest 'DD-02: a part' => sub {
    for (1 .. 8) {
        my $m = edge();
        my ($msn, $part) = ($m->{open}{msn}, scalar @{ $m->{open}{parts} });
        my $r = ask("_HLS_msn=$msn&_HLS_part=$part")->recv;

        is($r->{status}, 200, "$msn.$part");
        ok(listed(parse($r), $msn, $part), 'it, or what came instead');
    }

    # on a busy machine the part may be there before it is asked for

    my (@c, $held);

    for (1 .. 5) {
        my $m = fresh();
        my ($msn, $part) = ($m->{open}{msn}, scalar @{ $m->{open}{parts} });

        @c = map { ask("_HLS_msn=$msn&_HLS_part=$part") } 1 .. 2;
        last if $held = !$c[0]->readable(0.2);
    }

    ok($held, 'held until the part is there');
    my @r = map { $_->recv } @c;
    is($r[0]{body}, $r[1]{body}, 'DD-19: the same answer to the same request');
    cmp_ok($r[0]{done} - $r[0]{sent}, '<', 1, 'at once when it is');
};

subtest 'DD-03: a part beyond its segment' => sub {
    my $m = fresh();
    my ($last) = reverse @{ $m->{segments} };
    my $beyond = @{ $last->{parts} };

    my $r = ask("_HLS_msn=$last->{msn}&_HLS_part=$beyond")->recv;
    is($r->{status}, 200, 'answered, as the next segment has a part');
    cmp_ok($r->{done} - $r->{sent}, '<', 0.3, 'at once');

    # and when the segment was closed this moment: held for the next one's

    my $msn = $m->{open}{msn};
    my $closed = parse(ask("_HLS_msn=$msn")->recv);

    SKIP: {
        skip 'the next segment has parts already', 2
            if @{ $closed->{open}{parts} };

        my $parts = @{ $closed->{segments}[-1]{parts} };
        $r = ask("_HLS_msn=$msn&_HLS_part=" . ($parts + 90))->recv;
        is($r->{status}, 200, 'answered');
        ok(listed(parse($r), $msn + 1, 0), 'with the first part of the next');
    }
};

subtest 'DD-04: what is there, or was' => sub {
    my $m = edge();

    for my $query (map { ("_HLS_msn=$_", "_HLS_msn=$_&_HLS_part=0",
                          "_HLS_msn=$_&_HLS_part=77") }
                   0, $m->{msn}, $m->{segments}[-1]{msn} - 1)
    {
        my $r = ask($query)->recv;
        is($r->{status}, 200, $query);
        cmp_ok($r->{done} - $r->{sent}, '<', 0.3, 'at once');
        ok(!parse($r)->{skip}, 'in full');
    }
};

subtest 'DD-05, DD-06, DD-07, DD-15: what will not be waited for' => sub {
    my $m = fresh();
    my ($msn, $part) = ($m->{open}{msn}, $#{ $m->{open}{parts} });
    my $limit = 3 / $m->{part_inf}{'PART-TARGET'};

    # a segment may be closed between the look and the question
    my @bad = (
        '_HLS_msn=' . ($msn + 3),
        '_HLS_msn=' . ($msn + 1000) . '&_HLS_part=0',
        '_HLS_msn=18446744073709551615',
        "_HLS_msn=@{[ $msn + 1 ]}&_HLS_part=" . ($limit + 2),
        '_HLS_part=0', '_HLS_part=1&x=y', '_HLS_msn=', '_HLS_msn',
        '_HLS_msn=-1', '_HLS_msn=+1', '_HLS_msn=1.5', '_HLS_msn=abc',
        '_HLS_msn=0x10', '_HLS_msn=1%20', '_HLS_msn=18446744073709551616',
        "_HLS_msn=$msn&_HLS_part=-1", "_HLS_msn=$msn&_HLS_part=a",
        "_HLS_msn=$msn&_HLS_part=4294967296",
        "_HLS_msn=$msn&_HLS_msn=$msn", '_HLS_msn=1&_HLS_part=0&_HLS_part=0',
    );

    for my $query (@bad) {
        my $r = ask($query)->recv;
        is($r->{status}, 400, $query);
        cmp_ok($r->{done} - $r->{sent}, '<', 0.3, 'at once');
        like($r->{body}, qr/^_HLS_(?:msn|part) /, "says why: $r->{body}");
    }

    my $bad = wait_for {
        my $m = fresh();
        my $r = ask("_HLS_msn=$m->{open}{msn}&_HLS_part="
                    . (@{ $m->{open}{parts} } + $limit))->recv;
        $r->{status} == 400;
    };
    ok($bad, 'a part further ahead than the Advance Part Limit');

    for my $query ('_HLS_other=1', 'a=_HLS_part', '_HLS_skip=maybe',
                   '_HLS_report=x&_HLS_msn=0', '&&&=&=', '')
    {
        is(ask($query)->recv->{status}, 200, "not ours: \"$query\"");
    }
};

subtest 'DD-16, DD-17: hinted parts' => sub {
    my $got = 0;

    for (1 .. 12) {
        my $m = edge();
        my $hint = $m->{hints}[0]{URI};
        my $r = $t->get($t->path($s, 'source', $hint));

        if ($r->{status} == 404) {
            my ($msn, $part) = $hint =~ /(\d+)\.(\d+)/;
            my $next = edge();
            cmp_ok($next->{open}{msn}, '>', $msn, "$hint was given up");
            next;
        }

        $got++;
        is($r->{status}, 200, "$hint is held until it is there");
        like($r->{body}, qr/\A....moof/s, 'a fragment');
        is(length $r->{body}, $r->{headers}{'content-length'}, 'all of it');
        cmp_ok($r->{done} - $r->{first}, '<', 0.2, 'in one go');
        is($t->get($t->path($s, 'source', $hint))->{body}, $r->{body},
           'and the same later');
    }

    cmp_ok($got, '>', 4, 'most hints come true');

    my $m = fresh();
    my ($msn, $part) = ($m->{open}{msn}, scalar @{ $m->{open}{parts} });
    my $hint = $t->path($s, 'source', "part-$msn.$part.m4s");
    my $c = $t->client->send(GET => $hint);

    ok(!$c->readable(0.2), 'not a byte of a part that is not whole');

    is($t->get($t->path($s, 'source', $_))->{status}, 404,
       "$_: not hinted, not there")
        for "part-$msn." . ($part + 2) . '.m4s',
            'part-' . ($msn + 2) . '.0.m4s', "segment-$msn.m4s",
            'segment-' . ($msn + 9) . '.m4s',
            'part-18446744073709551615.0.m4s',
            'part-' . ($msn - 1) . '.99.m4s';

    my $head = $t->request(HEAD => $hint);
    my $r = $c->recv;
    is($head->{status}, $r->{status}, 'HEAD waits as well');
    is($head->{headers}{'content-length'}, $r->{headers}{'content-length'},
       'for the same length') if $r->{status} == 200;
};

subtest 'DD-11, DD-14: delta updates' => sub {
    my $c = $t->client;
    my $skipped;

    wait_for { $skipped = $t->playlist($s, 'source', '_HLS_skip=YES')->{skip} }
        40 or diag(edge()->{text});
    ok($skipped, 'there is something to skip');

    for my $how (qw(YES v2)) {
        my ($full, $delta);

        # at the same state

        wait_for {
            $full = parse($c->request(GET => $path));
            $delta = parse($c->request(GET => "$path?_HLS_skip=$how"));
            my $again = parse($c->request(GET => $path));
            $again->{text} eq $full->{text};
        };

        my $n = $delta->{skip}{'SKIPPED-SEGMENTS'};

        is($delta->{count}{'EXT-X-SKIP'}, 1, "$how: one EXT-X-SKIP");
        is($delta->{version}, 9, 'version 9');
        is($full->{version}, 6, 'where the full one is of version 6');
        is($delta->{msn}, $full->{msn}, 'the same MEDIA-SEQUENCE');
        is($delta->{dsn}, $full->{dsn}, 'and DISCONTINUITY-SEQUENCE');

        my @durations = map { $_->{duration} } @{ $full->{segments} };
        my $boundary = $full->{control}{'CAN-SKIP-UNTIL'};
        my ($behind, $far) = (0, 0);

        for my $duration (reverse @durations) {
            $far++ if $behind > $boundary;
            $behind += $duration;
        }

        is($n, $far, 'all that is beyond the boundary is skipped');

        my @all = map { "@{[ %$_{qw(uri duration pdt msn)} ]}" }
                  @{ $full->{segments} };
        my @rest = map { "@{[ %$_{qw(uri duration pdt msn)} ]}" }
                   @{ $delta->{segments} };

        is_deeply([sort map { join ' ', sort split / / }
                   @all[0 .. $n - 1], @rest],
                  [sort map { join ' ', sort split / / } @all],
                  'put together they are the full playlist');

        my ($tail) = $delta->{text} =~ /(#EXT-X-PROGRAM-DATE-TIME.*)/s;
        is(substr($full->{text}, -length $tail), $tail,
           'no tag of the rest is missing');
    }

    my $m = fresh();
    my $r = ask("_HLS_msn=$m->{open}{msn}&_HLS_part="
                . @{ $m->{open}{parts} } . '&_HLS_skip=YES')->recv;
    ok(parse($r)->{skip}, 'a delta can be waited for');
};

subtest 'ST-20: rendition reports' => sub {
    my ($ok, $n) = (0, 10);

    for (1 .. $n) {
        my $m = fresh();
        my $other = $t->playlist($s, 'audio');
        my ($report) = @{ $m->{reports} };
        my ($last) = reverse $other->parts;

        is(scalar @{ $m->{reports} }, 1, 'one of the one other rendition');
        is($report->{URI}, '../audio/playlist.m3u8', 'by a relative URI');

        # the audio may have gone on meanwhile, by one part or two
        $ok++ if $last->{msn} > $report->{'LAST-MSN'}
                 || $last->{msn} == $report->{'LAST-MSN'}
                    && $last->{index} - $report->{'LAST-PART'} <= 2
                    && $last->{index} >= $report->{'LAST-PART'};
    }

    is($ok, $n, 'with its last part');
};

subtest 'many at once' => sub {
    my $m = fresh();
    my ($msn, $part) = ($m->{open}{msn}, scalar @{ $m->{open}{parts} });

    my @c = map { ask("_HLS_msn=$msn&_HLS_part=$part") } 1 .. 200;
    $_->close for @c[0 .. 49];

    my @r = map { $_->recv } @c[50 .. 199];
    my @wrong = grep { $_->{status} != 200 || $_->{body} ne $r[0]{body} } @r;

    is(scalar @wrong, 0, 'all have the same answer, though some left');
};

subtest 'DD-09: the end' => sub {
    my $m = fresh();
    my $msn = $m->{open}{msn};
    my @waiting = map { ask('_HLS_msn=' . ($msn + 1)) } 1 .. 2;
    my $hint = $t->client->send(GET => $t->path($s, 'source',
        'part-' . ($msn + 1) . '.0.m4s'));

    $t->api(POST => "/livestreams/$s->{id}/stop");

    for my $c (@waiting) {
        my $r = $c->recv(5);
        is($r->{status}, 200, 'who waits is answered');
        ok(parse($r)->{endlist}, 'with the end');
    }

    isnt($hint->recv->{status}, 200, 'and no part comes');

    my $end = wait_for { my $m = edge(); $m->{endlist} && $m };
    ok($end, 'EXT-X-ENDLIST');
    is(scalar @{ $end->{hints} }, 0, 'no hint');
    is(scalar(() = $end->parts), 0, 'no parts, for which hls.js would wait');

    for my $query ('_HLS_msn=999999', '_HLS_part=1', '_HLS_msn=x',
                   '_HLS_msn=0&_HLS_part=0&_HLS_skip=YES', '_HLS_skip=v2')
    {
        my $r = ask($query)->recv;
        is($r->{status}, 200, "ignored: $query");
        is($r->{body}, $end->{text}, 'the full playlist');
        cmp_ok($r->{done} - $r->{sent}, '<', 0.3, 'at once');
    }

    is($t->get($t->path($s, 'source', $end->{segments}[-1]{uri}))->{status},
       200, 'the last segment is there');
    is($t->get($t->path($s, 'master.m3u8'))->{status}, 200,
       'the multivariant playlist is there');
};

subtest 'DD-08: a publisher that falls silent' => sub {
    $s = $t->create(title => 'Silence');
    $p = $t->publish($s, gop => 1);
    $path = $t->path($s, 'source', 'playlist.m3u8');

    ok($t->wait_live($s), 'is live');
    my $m = fresh();
    my $target = $m->{target};

    $p->freeze;

    my @c = map { ask("_HLS_msn=" . ($m->{open}{msn} + 1)) } 1 .. 3;
    my $hint = $t->client(timeout => 60)->send(
        GET => $t->path($s, 'source', $m->{hints}[0]{URI}));
    $c[2]->close;

    my $r = $c[0]->recv(60);

    # either the wait ends, or the stream is given up and gaps fill it

    if ($r->{status} == 503) {
        cmp_ok($r->{done} - $r->{sent}, '>', 3 * $target - 1,
               'not before three target durations');
        cmp_ok($r->{done} - $r->{sent}, '<', 3 * $target + 2, 'not later');
        like($r->{body}, qr/stalled/, 'it says why');
        is($c[1]->recv->{status}, 503, 'to all who wait');

    } else {
        is($r->{status}, 200, 'answered');
        ok((grep { ($_->{GAP} // '') eq 'YES' } parse($r)->parts),
           'with a gap');
    }

    like($hint->recv->{status}, qr/^(?:200|404|503)$/,
         'the hinted part is answered too');

    $p->thaw;
};

subtest 'ST-14: gaps' => sub {
    $s = $t->create(title => 'Cut off');
    $p = $t->publish($s, gop => 1);
    $path = $t->path($s, 'source', 'playlist.m3u8');

    ok($t->wait_live($s), 'is live');
    $p->kill;

    my ($m, @gaps);

    for (1 .. 20) {
        $m = edge();
        my $r = ask("_HLS_msn=$m->{open}{msn}&_HLS_part="
                    . @{ $m->{open}{parts} })->recv;
        is($r->{status}, 200, 'requests go on being answered');

        $m = parse($r);
        @gaps = grep { ($_->{GAP} // '') eq 'YES' } $m->parts;
        last if @gaps && grep { $_->{gap} } @{ $m->{segments} };
    }

    my ($segment) = grep { $_->{gap} } @{ $m->{segments} };

    is($t->get($t->path($s, 'source', $gaps[0]{URI}))->{status}, 404,
       'a part that is a gap is not there');
    is($t->get($t->path($s, 'source', $segment->{uri}))->{status}, 404,
       'nor is a segment');
    is($t->get($t->path($s, 'source', $m->{hints}[0]{URI}))->{status}, 404,
       'nor the hinted part, when it is known to be one');
    is($t->get($t->path($s, 'master.m3u8'))->{status}, 200,
       'who comes now is served');
};

subtest 'without low latency' => sub {
    $s = $t->create(title => 'Plain', low_latency => JSON_FALSE);
    $p = $t->publish($s, gop => 1);
    $path = $t->path($s, 'source', 'playlist.m3u8');

    my $m = $t->wait_live($s);
    ok($m, 'is live');

    is(scalar(() = $m->{text} =~ /#EXT-X-(?:PART|PRELOAD|RENDITION)/g), 0,
       'no parts, no hints, no reports');
    cmp_ok($m->{control}{'HOLD-BACK'}, '>=', 3 * $m->{target}, 'HOLD-BACK');
    is($m->{control}{'PART-HOLD-BACK'}, undef, 'no PART-HOLD-BACK');

    my $msn = $m->{open}{msn};
    my $r = ask("_HLS_msn=$msn")->recv;
    is($r->{status}, 200, 'a segment can be waited for');
    is(parse($r)->{segments}[-1]{msn}, $msn, 'and comes');
};

subtest 'a stream that is deleted' => sub {
    my $m = edge();
    my @c = map { ask("_HLS_msn=$m->{open}{msn}") } 1 .. 3;

    $t->api(DELETE => "/livestreams/$s->{id}");

    for my $c (@c) {
        my $r = $c->recv;
        like($r->{status}, qr/^(?:200|404)$/, 'who waits is answered');
        cmp_ok($r->{done} - $r->{sent}, '<', 2, 'soon');
    }

    ok(wait_for { $t->get($path)->{status} == 404 }, 'and then it is gone');
};

$t->stop;
done_testing();
