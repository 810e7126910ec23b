# A window that is shorter than it was asked for, or whose reloads are large;
# a delta that does not lead to the full playlist; an hour-old segment that is
# listed and not served; a stream's own settings that are not followed, or
# followed in the middle of a broadcast; a window so long that other streams
# find no room in the zone.

use Livestream::Test;
use Livestream::Test::Conformance;

use List::Util qw(sum0);

# five tracks, of which each is reported in the others' playlists
use constant TRACKS => qw(source audio 72p 54p 36p);

subtest 'two hours' => \&two_hours;
subtest 'settings of a stream' => \&own_settings;
subtest 'dvr on' => \&by_default;
subtest 'a week' => \&a_week;

done_testing();


sub two_hours {
    my $t = Livestream::Test->new(livestream => 'dvr on;
        default_dvr_window 2h; segment_duration 6s; part_duration 500ms;
        transcode on; video_preset ultrafast;
        rung 72p 128x72 50k; rung 54p 96x54 40k; rung 36p 64x36 30k;');
    $t->start;

    my $s = $t->create;

    # what is more than three seconds late would be left out
    my $p = $t->publish_fast($s, seconds => 2.1 * 3600, track => '36p',
        clip => { size => '128x72' }, args => ['--lead', 1500]);

    for my $track (TRACKS) {
        my $m = $t->playlist($s, $track);
        my @others = map { $t->playlist($s, $_) } grep { $_ ne $track } TRACKS;

        is_deeply([Livestream::Test::Conformance::media($m, \@others)], [],
                  "$track: the playlist keeps all the rules");
        window($m, 7200);
        delta($t, $s, $track);
        far_end($t, $s, $track, $m);
    }

    $p->kill;
    $t->stop;
}


sub window {
    my ($m, $seconds) = @_;

    my $length = sum0(map { $_->{duration} } @{ $m->{segments} });

    cmp_ok($length, '>=', $seconds - 0.001, "$seconds s are listed");
    cmp_ok($length, '<=', $seconds + $m->{target}, 'and not a segment more');
}


# A delta and a full playlist of one state: the one is the end of the other.
sub delta {
    my ($t, $s, $track) = @_;

    my ($delta, $full);

    my $same = wait_for {
        $delta = $t->playlist($s, $track, '_HLS_skip=YES');
        $full = $t->playlist($s, $track);
        "@{ $delta->{hints}[0] }{URI}" eq "@{ $full->{hints}[0] }{URI}"
            && report($delta) eq report($full);
    };

    ok($same, "$track: delta and full playlist of one state");
    # the map goes with what is skipped
    is_deeply([grep { !/without EXT-X-MAP$/ }
               Livestream::Test::Conformance::media($delta)], [],
              'the delta keeps all the rules');

    my $share = length($delta->{text}) / length($full->{text});
    cmp_ok($share, '<=', 0.03, 'it is small')
        or diag(length $delta->{text}, ' of ', length $full->{text});

    my ($head, $tail) = split /^#EXT-X-SKIP:.*\n/m, $delta->{text};
    my $kept = substr $full->{text}, 0, -length $tail;

    is(substr($full->{text}, -length $tail), $tail,
       'what it has is the end of the full one');
    is(scalar(() = $kept =~ /^segment-/mg),
       $delta->{skip}{'SKIPPED-SEGMENTS'}, 'what it skips is the rest');
    is($head =~ s/VERSION:9/VERSION:6/r, substr($kept, 0, length $head),
       'behind the same header');
    like($kept, qr/^segment-.*\n\z/m, 'cut behind a segment');
}


sub report {
    my ($m) = @_;

    return join ' ', map { "@$_{qw(URI LAST-MSN LAST-PART)}" }
                     @{ $m->{reports} };
}


sub far_end {
    my ($t, $s, $track, $m) = @_;

    # rungs that were late for a moment have gaps
    my ($first) = grep { !$_->{gap} } @{ $m->{segments} };
    my $r = $t->get($t->path($s, $track, $first->{uri}));

    is($r->{status}, 200, "$track: the oldest segment is served");

    my @fragments = eval {
        Livestream::Test::Conformance::fragments($r->{body});
    };
    cmp_ok(scalar @fragments, '>', 0, 'whole') or diag($@);

    $r = $t->get($t->path($s, $track, $first->{map}{URI}));
    is_deeply([Livestream::Test::Conformance::init($r->{body})], [],
              'and so is its initialization segment');

    # whoever has the playlist of a minute ago may ask for it
    my @left = grep {
        $t->get($t->path($s, $track, "segment-$_.m4s"))->{status} == 200
    } $m->{msn} - 10 .. $m->{msn} - 1;
    cmp_ok(scalar @left, '>', 5, 'those that have left it are served too');
}


# "dvr off", which is the default
sub own_settings {
    my $t = Livestream::Test->new(livestream => 'playlist_length 3;
        segment_duration 2s; part_duration 500ms; reconnect_window 1s;');
    $t->start;

    my $plain = $t->create;
    my $p = $t->publish_fast($plain, seconds => 120);
    my $m = $t->playlist($plain);

    cmp_ok(scalar @{ $m->{segments} }, '<=', 4, 'none is the default');
    ok(!recordings($t, $plain), 'and nothing is recorded');

    my ($status) = $t->api(PATCH => "/livestreams/$plain->{id}",
        { dvr_enabled => JSON_TRUE, dvr_window => 60 });
    is($status, 200, 'it is switched on');

    my $next = wait_for {
        my $next = $t->playlist($plain);
        $next->{msn} > $m->{msn} && $next;
    };

    cmp_ok(scalar @{ $next->{segments} }, '<=', 4,
           'which changes nothing in a broadcast');
    ok(!recordings($t, $plain), 'that nobody records');

    $p->stop;
    wait_for { ($t->api(GET => "/livestreams/$plain->{id}"))[1]{status}
               eq 'ended' };

    $p = $t->publish_fast($plain, seconds => 120);
    window($t->playlist($plain), 60);
    is(recordings($t, $plain), 1, 'the next one is recorded');

    my $own = $t->create(dvr_enabled => JSON_TRUE, dvr_window => 30);
    my $q = $t->publish_fast($own, seconds => 120);

    window($t->playlist($own), 30);
    is(recordings($t, $own), 1, 'a stream of its own is recorded');

    $_->kill for $p, $q;
    $t->stop;
}


sub by_default {
    my $t = Livestream::Test->new(livestream => 'dvr on;
        default_dvr_window 60s; playlist_length 3; segment_duration 2s;
        part_duration 500ms;');
    $t->start;

    my $s = $t->create;
    my $own = $t->create(dvr_enabled => JSON_TRUE, dvr_window => 30);
    my $plain = $t->create(low_latency => JSON_FALSE);
    my @p = map { $t->publish_fast($_, seconds => 120) } $s, $own, $plain;

    window($t->playlist($s), 60);
    is(recordings($t, $s), 1, 'a stream is recorded');
    window($t->playlist($own), 30);
    window($t->playlist($plain), 60);
    ok(!$t->playlist($plain)->{part_inf}, 'with or without low latency');

    $_->kill for @p;
    $t->stop;
}


sub a_week {
    my $t = Livestream::Test->new(livestream => 'zone 4m;
        max_concurrent_streams 16; playlist_length 3; segment_duration 2s;
        part_duration 500ms;');
    $t->start;

    my @long = map { $t->create(dvr_enabled => JSON_TRUE,
                                dvr_window => 7 * 86400) } 1 .. 4;
    my @short = map { $t->create } 1 .. 4;
    my @p = map { $t->publish_fast($_, seconds => 600) } @long, @short;

    for my $s (@long) {
        my $m = $t->playlist($s);

        cmp_ok(sum0(map { $_->{duration} } @{ $m->{segments} }), '>=', 60,
               'a window that has no room is shortened');
        is_deeply([Livestream::Test::Conformance::media($m)], [],
                  'to one that keeps all the rules');
    }

    like($t->log, qr/stream $long[0]{id}: the livestream "zone" has room for/,
         'the log says so');
    is(scalar(grep { $t->playlist($_) } @short), 4,
       'and others have their room');

    $_->kill for @p;
    $t->stop;
}


sub recordings {
    my ($t, $s) = @_;

    my @dirs = glob "$t->{dir}/data/media/recordings/$s->{id}/*";
    return scalar @dirs;
}
