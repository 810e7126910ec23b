# A publisher comes back to another ladder than it left: a rung that nobody
# makes any more must not be offered, nor end players that are on it, and a new
# one must begin where the others go on.

use Livestream::Test;
use Livestream::Test::Conformance;
use Livestream::Test::Follow;

my $t = Livestream::Test->new(livestream => 'transcode on;
                                             rung 120p 160x120 150k;
                                             rung 90p 120x90 100k;
                                             part_duration 500ms;
                                             segment_duration 2s;
                                             playlist_length 12;');
$t->start;

my $s = $t->create(title => 'Another ladder');
my $p = $t->publish($s, size => '320x240');

ok($t->wait_live($s, '90p'), 'the stream can be played') or diag($p->output);
ok((wait_for { variants() eq 'source 120p 90p' } 10),
   'it has the first ladder') or diag(variants());
ok((wait_for { stored() eq '120p 90p source' } 5), 'and so has the store');

my $old = Livestream::Test::Follow->new($t, $s, '120p');
$old->run(2);

$p->stop;

$t->{arg}{livestream} =~ s/rung 120p 160x120/rung 180p 240x180/;
Livestream::Test::write_file("$t->{dir}/nginx.conf", $t->conf);
ok($t->reload, 'the configuration has another ladder');

$p = $t->publish($s, size => '320x240');

ok((wait_for { $old->step; variants() eq 'source 180p 90p' } 20),
   'the other ladder is offered') or diag(variants(), "\n", $p->output);
ok((wait_for { $old->step; stored() eq '180p 90p source' } 5),
   'the store has it');

$old->run(5);

is_deeply($old->problems, [], 'nothing is wrong with the old playlist');
cmp_ok($old->{slowest}, '<', 3, 'which goes on');
ok($old->{playlist}{segments}[-1]{gap}, 'in gaps');

my %break = map { $_ => break_of($_) } qw(source audio 90p 120p 180p);

cmp_ok($break{source}, '>', 0, 'there is a discontinuity');
is($break{$_}, $break{source}, "$_: at the same segment") for sort keys %break;

is($t->playlist($s, '180p')->{msn}, $break{source},
   'the new rung begins there');
ok(!(grep { $_->{gap} } @{ $t->playlist($s, '180p')->{segments} }),
   'without a gap');

my $text = $t->get($t->path($s, '90p', 'playlist.m3u8'))->{body};

is_deeply([sort $text =~ m{REPORT:URI="\.\./(\w+)/}g],
          [qw(180p audio source)], 'reports leave out what is not offered');

$p->stop;
$t->stop;
done_testing();


sub variants {
    my $text = $t->get($t->path($s, 'master.m3u8'))->{body} // '';

    return join ' ', $text =~ m{^(\w+)/playlist\.m3u8$}mg;
}


sub stored {
    return join ' ', map { $_->{resolution} }
        $t->sql('SELECT resolution FROM live_stream_variants'
                . ' ORDER BY resolution');
}


# The number of the segment that a discontinuity is before, or -1.
sub break_of {
    my ($track) = @_;

    my $m = $t->playlist($s, $track);
    my $n = $m->{msn};

    for my $segment (@{ $m->{segments} }) {
        return $n if $segment->{discontinuity};
        $n++;
    }

    return -1;
}
