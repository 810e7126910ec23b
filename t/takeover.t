# Two publishers with one key: a live one is protected, a silent one is
# replaced and unknown, stopped and surplus ones are refused, over all workers.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;
                                             max_concurrent_streams 2;');
$t->start;

my $s = $t->create(title => 'Taken over');
my $first = $t->publish($s);

ok($t->wait_live($s), 'the stream can be played') or diag($first->output);

for (1 .. 4) {
    # four connections meet both workers
    my $second = $t->publish($s);
    my $status = $second->wait(10);

    isnt($status // 0, 0, "second publisher $_ is refused");
    like($second->output, qr/already publishing/, 'and told why');
}

ok($first->running, 'the first one goes on');

$first->freeze;

my $heir;

ok((wait_for {
    $heir = $t->publish($s) if !$heir || defined $heir->wait(0);

    my $m = $t->playlist($s);
    $m && grep { $_->{discontinuity} } @{ $m->{segments} };
} 40), 'once it is silent it is replaced by one that continues its stream')
    or diag($heir->output);

ok($heir->running, 'which stays');

$first->thaw;
ok(defined $first->wait(10), 'and it is disconnected');

my $bad = $t->publish('sk_unknown');
ok($bad->wait(10), 'an unknown key is refused');
like($bad->output, qr/unknown stream key/, 'with a reason');

unlike($t->log, qr/livestream: .*sk_unknown/, 'and the key is not logged');

my $stopped = $t->create(title => 'Stopped');
$t->sql("UPDATE live_streams SET status = 'stopped'"
        . " WHERE id = '$stopped->{id}'");

my $p = $t->publish($stopped);
ok($p->wait(10), 'the key of a stopped stream is refused');
like($p->output, qr/stopped/, 'with a reason');

my $two = $t->create(title => 'Two');
my $three = $t->create(title => 'Three');

my $p2 = $t->publish($two);
ok($t->wait_live($two), 'a second stream has room') or diag($p2->output);

my $p3 = $t->publish($three);
ok($p3->wait(10), 'a third one has none');
like($p3->output, qr/max_concurrent_streams/, 'and is told why');

$_->stop for $heir, $p2;
$t->stop;
done_testing();
