# A publisher comes back to a new worker when the old one, which still holds
# the interrupted stream, is about to exit and has not heard of it: what it
# gives away then is no longer its own.

use Livestream::Test;

# the old worker looks at the stream once a part
my $t = Livestream::Test->new(workers => 1,
                              livestream => 'part_duration 4s;
                                             segment_duration 4s;');
$t->start;

my $s = $t->create(title => 'Claimed');
my $p = $t->publish($s);

ok((wait_for { glob "$t->{dir}/data/media/$s->{id}/*/source/init-1.mp4" }),
   'the stream has begun') or diag($p->output);

$p->stop;
ok((wait_for { status() eq 'interrupted' }), 'its publisher has gone');

my ($old) = $t->workers;

kill STOP => $old;
kill HUP => $t->master;
ok((wait_for { grep { $_ != $old } $t->workers }), 'there is a new worker');

$p = $t->publish($s);
ok((wait_for { accepted() == 2 }),
   'the publisher is back') or diag($p->output);

kill $_ => $old for qw(TERM CONT);
ok((wait_for { !Livestream::Test::alive($old) }), 'the old worker exits');

ok((wait_for { status() eq 'live' }), 'the stream goes on');
ok($t->wait_live($s), 'and can be played') or diag($p->output);
ok($t->log !~ /taken over/, 'in the hands of its owner');
ok($p->running, 'which keeps its publisher');

my $m = $t->playlist($s);
my @breaks = grep { $_->{discontinuity} } @{ $m->{segments} }, $m->{open};

is(scalar @breaks, 1, 'behind one discontinuity') or diag($m->{text});

$t->stop;
done_testing();


sub status { ($t->sql('SELECT status FROM live_streams'))[0]{status} }

sub accepted { scalar(() = $t->log =~ /publisher of stream \S+ accepted/g) }
