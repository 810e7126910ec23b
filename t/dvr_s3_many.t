# A recording of a day that is never ready, because its files are more than the
# store takes at once; or that is ready and some of them are not to be stored.

use Livestream::Test;
use Livestream::Test::S3;

use File::Temp qw(tempdir);

use constant SEGMENTS => 14400;

# links of one file, and their removal
$ENV{TMPDIR} //= '/dev/shm' if -w '/dev/shm';

my $s3 = Livestream::Test::S3->new(tempdir(CLEANUP => 1));

# it is the journal that is looked at
$s3->stop;

my $t = Livestream::Test->new(livestream => 'dvr on; segment_duration 1s;
    recording_storage ' . $s3->uri . ";\n" . $s3->directives);
$t->start;

my $s = $t->create;
my $p = $t->publish($s, size => '160x90', fps => 24);

ok((wait_for { $t->playlist($s, 'source') } 20), 'a broadcast');

$p->stop;
$t->api(POST => "/livestreams/$s->{id}/stop");

ok(finished(), 'it is recorded') or diag($t->log);


# ---- and goes on for hours

my ($dir) = glob "$t->{dir}/data/media/recordings/$s->{id}/*-*";
my ($rid) = $dir =~ m{([^/]+)$};
my @lines = split /^/, Livestream::Test::read_file("$dir/index");

# the last one that is no gap
my ($last) = reverse grep { /^segment source \d+ \d+ \d+ \d+ [1-9]/ } @lines;
my ($msn, $start, $pdt, $duration, $rest)
    = $last =~ /^segment source (\d+) (\d+) (\d+) (\d+) (.*)/;

for my $n (1 .. SEGMENTS) {
    link "$dir/source/segment-$msn.m4s",
         "$dir/source/segment-@{[ $msn + $n ]}.m4s" or die "link: $!\n";

    push @lines, sprintf "segment source %d %d %d %d %s\n", $msn + $n,
        $start + $n * $duration, $pdt + $n * $duration, $duration, $rest;
}

Livestream::Test::write_file("$dir/index", join '', @lines, "end\n");
unlink "$dir/master.m3u8";

$t->sql("UPDATE dvr_recordings SET status = 'processing' WHERE id = '$rid'");

ok(finished(), 'all of it is finished') or diag(substr $t->log, -3000);

my %names = map { $_->{name} => 1 } $t->sql('SELECT name FROM dvr_objects');
my @missing = grep { !$names{"$s->{id}/$rid/$_"} }
              map({ substr $_, 1 + length $dir }
                  glob("$dir/*.m3u8 $dir/*/*.m3u8 $dir/*/*.mp4")),
              map({ "source/segment-$_.m4s" } $msn .. $msn + SEGMENTS);

is_deeply(\@missing, [], 'and each of its files is to be stored');
unlike($t->log, qr/store is overloaded/, 'the store is not overrun');

$t->stop;
done_testing();


sub finished {
    return wait_for {
        my ($row) = $t->sql("SELECT status FROM dvr_recordings");
        ($row->{status} // '') eq 'ready';
    } 120;
}
