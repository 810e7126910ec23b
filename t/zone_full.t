# A zone without room for another stream: its publisher is refused with a line
# that says what to do, the streams that are there go on.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 900;
                                             max_concurrent_streams 8;
                                             zone 1600k;');
$t->start;

my @streams = map { $t->create(title => "Stream $_") } 1 .. 8;
my @workers = sort $t->workers;
my (@live, $refused);

for my $s (@streams) {
    my $p = $t->publish($s, size => '160x90');
    my $state = wait_for {
        $t->playlist($s) ? 'live' : defined $p->wait(0) ? 'refused' : undef;
    } 15;

    push(@live, [$s, $p]), next if ($state // '') eq 'live';

    $refused = $s;
    last;
}

ok(@live, scalar @live . ' streams had room');
ok($refused, 'the next one had none') or diag($t->log);
ok($t->log_like(qr/"zone"/), 'the log names the directive');
is_deeply([sort $t->workers], \@workers, 'no worker died');

for my $live (@live) {
    my ($s, $p) = @$live;
    my $m = $t->playlist($s);

    ok($p->running && $m && !$m->{endlist}, "$s->{title} goes on");
}

my ($conf, $said) = zone('100k');

isnt($conf, 0, 'a zone too small for its slots is refused at the start');
like($said, qr/zone.*too small.*max_concurrent_streams/, 'with a reason');

$_->[1]->stop for @live;
$t->stop;
done_testing();


sub zone {
    my ($size) = @_;

    my $small = Livestream::Test->new(livestream => "zone $size;");
    $small->allow(qr/"zone".*too small/);
    return $small->test_conf;
}
