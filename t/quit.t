# "nginx -s quit" in mid-stream: waiting viewers get the end of the stream, and
# the store says that it has ended.

use Livestream::Test;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
$t->start;

my $s = $t->create(title => 'Quit');
my $p = $t->publish($s);
my $m = $t->wait_live($s);

ok($m, 'the stream can be played') or diag($p->output);

# two parts ahead: cannot be answered by what is there
my $ahead = @{ $m->{open}{parts} } + 2;
my $c = $t->client(timeout => 20);
$c->send(GET => $t->path($s, 'source', 'playlist.m3u8')
         . "?_HLS_msn=" . ($m->{open}{msn} + 1) . "&_HLS_part=$ahead");

$t->remember;
$t->quit;

my $r = $c->recv;
is($r->{status}, 200, 'a waiting viewer is answered');

my $end = Livestream::Test::M3U8->parse($r->content, $r);
ok($end->{endlist} || $end->{open}{msn} > $m->{open}{msn},
   'by the end of the stream, or by what he waited for');

ok($t->ended(15), 'nginx ends although the publisher would not');
is(($t->sql('SELECT status FROM live_streams'))[0]{status}, 'ended',
   'the store says that the stream has ended');
ok(($t->sql('SELECT ended_at FROM live_streams'))[0]{ended_at}, 'and when');

$p->wait(10);
$t->stop;
done_testing();
