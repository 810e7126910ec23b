# A disk that is full and a root that cannot be written to: the stream ends
# with an error that the log explains, nginx and its other streams go on.

use Livestream::Test;

plan skip_all => 'needs root, to mount a small disk' if $>;

my $t = Livestream::Test->new(livestream => 'part_duration 500ms;
                                             segment_duration 2s;');
my $media = "$t->{dir}/data/media";

require File::Path;
File::Path::make_path($media);

system('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', $media) == 0
    or plan skip_all => 'cannot mount a small disk here';

my $mounted = 1;
END { system('umount', '-l', $media) if $mounted }

$t->start;

my @workers = sort $t->workers;
my $s = $t->create(title => 'Too large');
my $p = $t->publish($s, size => '640x360', gop => 1,
                    args => ['-b:v', '3M', '-minrate', '3M', '-maxrate', '3M',
                             '-bufsize', '500k', '-x264-params',
                             'nal-hrd=cbr:threads=1']);

ok((wait_for { status($s) eq 'error' } 30), 'the stream ends with an error')
    or diag($p->output, $t->log);
ok($t->log_like(qr/stream \S+: ended by an error: .*No space left/),
   'the log says why');
ok(defined $p->wait(10), 'its publisher is disconnected');

my $r = $t->get($t->path($s, 'source', 'playlist.m3u8'));
ok($r->{status} == 404 || $r->content =~ /EXT-X-ENDLIST/,
   'its playlist, if it had one, is ended');

is_deeply([sort $t->workers], \@workers, 'no worker died');

# room again, for the same key

system('mount', '-o', 'remount,size=200m', $media);

my $again = $t->publish($s);
ok((wait_for { status($s) eq 'live' } 20), 'with room again it goes live')
    or diag($again->output, $t->log);

chmod 0555, glob "$media/$s->{id}/*/source";

ok((wait_for { status($s) eq 'error' } 20), 'a folder that cannot be written '
   . 'to ends it too') or diag($t->log);
ok($t->log_like(qr/ended by an error: .*Permission denied/),
   'and the log says why')
    or diag($t->log);
is_deeply([sort $t->workers], \@workers, 'no worker died of that either');
is(($t->api(GET => "/livestreams/$s->{id}"))[0], 200, 'the API goes on');

$again->wait(10);
$t->stop;
done_testing();


sub status {
    my ($s) = @_;

    return ($t->sql("SELECT status FROM live_streams WHERE id = '$s->{id}'"))
        [0]{status};
}
