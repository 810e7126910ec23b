package Livestream::Test::S3;

# Copyright (C) nginx-livestream contributors
#
# A real S3 server with a bucket of its own, which checks signatures and sums
# (t/s3/server.mjs), and what may go wrong with it:
#
#     my $s3 = Livestream::Test::S3->new("$t->{dir}/s3");   # cors => 1: for
#                                       # pages of any origin
#     ... $s3->uri, $s3->directives for livestream{}
#     $s3->stop; $s3->start;            # away, and back with what it had
#     $s3->slow(100_000);               # bytes per second and connection
#     $s3->cut(1_000_000, 1);           # breaks a connection after so many
#                                       # bytes of the client's, once
#     $s3->hang;                        # takes connections, says nothing
#     $s3->flip('before');              # a bit, on the way ('after': in store)
#     $s3->answer(503, 'SlowDown', times => 2, method => 'PUT', match => 're',
#                 headers => {...});
#     $s3->normal;                      # nothing goes wrong any more
#     $s3->objects                      # { KEY => { size, md5, path } }
#     $s3->requests                     # since the last call: [{ method, url,
#                                       # status }]
#     $s3->connections                  # how many there were until that call
#     $s3->unfinished                   # uploads in parts that are not over
#
# A fault replaces the one before.  With certificate => FILE, key => FILE it
# speaks TLS.  Ends with the test.

use v5.28;
use warnings;

use Cwd qw(abs_path);
use Digest::MD5;
use File::Basename qw(dirname);
use File::Find qw(find);
use File::Path qw(make_path);
use IO::Handle;
use IO::Select;
use JSON::PP;
use POSIX ();

use Livestream::Test ();

use constant { ANSWER => 30, SUFFIX => '._S3rver_object' };

my $server = abs_path(dirname(__FILE__) . '/../../../s3/server.mjs');


sub new {
    my ($class, $dir, %arg) = @_;

    make_path($dir);

    my $s = bless {
        dir    => $dir,
        port   => Livestream::Test::free_port(),
        bucket => 'live',
        region => 'eu-west-1',
        access => 'AKIDTEST',
        secret => 'sEcReT/with+signs=',
        prefix => 'recordings',
        %arg,
        requests => [],
    }, $class;

    $s->start;

    return $s;
}


sub start {
    my ($s) = @_;

    my %config = (directory => $s->{dir});
    $config{$_} = $s->{$_}
        for qw(port bucket region access secret token certificate key
               cors);

    pipe my $in, my $to or die "pipe: $!\n";
    pipe my $from, my $out or die "pipe: $!\n";

    $s->{pid} = fork() // die "fork: $!\n";

    if ($s->{pid} == 0) {
        open STDIN, '<&', $in;
        open STDOUT, '>&', $out;
        open STDERR, '>>', "$s->{dir}.log";
        { no warnings;
          exec 'node', $server, JSON::PP->new->encode(\%config); }
        POSIX::_exit(127);
    }

    $to->autoflush(1);
    @$s{qw(to from)} = ($to, $from);

    $s->read_line // die "the S3 server does not start, see $s->{dir}.log\n";

    return $s;
}


sub stop {
    my ($s) = @_;

    my $pid = delete $s->{pid} or return;

    kill KILL => $pid;
    waitpid $pid, 0;
    close delete $s->{$_} for qw(to from);
}


sub read_line {
    my ($s) = @_;

    IO::Select->new($s->{from})->can_read(Livestream::Test::slow(ANSWER))
        or return undef;

    return readline $s->{from};
}


sub tell {
    my ($s, %fault) = @_;

    print { $s->{to} } JSON::PP->new->encode(\%fault), "\n";

    my $line = $s->read_line // die "the S3 server does not answer\n";
    my $seen = JSON::PP->new->decode($line);

    push @{ $s->{requests} }, @{ $seen->{requests} };
    $s->{connections} += $seen->{connections};

    $s->{fault} = \%fault;

    return;
}


sub normal { $_[0]->tell }
sub slow   { $_[0]->tell(rate => $_[1]) }
sub cut    { $_[0]->tell(cut => $_[1], @_ > 2 ? (times => $_[2]) : ()) }
sub hang   { $_[0]->tell(hang => JSON::PP::true) }
sub flip   { $_[0]->tell(flip => $_[1]) }


sub answer {
    my ($s, $status, $code, %arg) = @_;

    return $s->tell(answer => { status => $status, code => $code, %arg });
}


sub requests {
    my ($s) = @_;

    $s->tell(%{ $s->{fault} // {} }) if $s->{pid};

    my @requests = @{ $s->{requests} };
    $s->{requests} = [];
    $s->{counted} = delete $s->{connections};

    return \@requests;
}


sub connections { $_[0]{counted} }


sub endpoint {
    my ($s) = @_;

    return ($s->{certificate} ? 'https' : 'http') . "://127.0.0.1:$s->{port}";
}


sub uri { "s3://$_[0]{bucket}" . ($_[0]{prefix} ? "/$_[0]{prefix}" : '') }


sub directives {
    my ($s) = @_;

    return "s3_endpoint " . $s->endpoint . ";\n"
         . "s3_region $s->{region};\n"
         . "s3_access_key $s->{access};\n"
         . "s3_secret_key \"$s->{secret}\";\n";
}


# by their whole keys, the prefix included
sub objects {
    my ($s) = @_;

    my $bucket = "$s->{dir}/$s->{bucket}";
    my %objects;

    # a folder may go while it is looked into
    no warnings 'File::Find';

    find({ no_chdir => 1, wanted => sub {
        my $path = $File::Find::name;
        my $suffix = SUFFIX;

        $path =~ m{^\Q$bucket\E/(.*)\Q$suffix\E$} or return;

        my $key = $1;
        open my $fh, '<:raw', $path or return;

        $objects{$key} = {
            path => $path,
            size => -s $fh,
            md5  => Digest::MD5->new->addfile($fh)->hexdigest,
        };
    } }, $bucket);

    return \%objects;
}


sub unfinished {
    my ($s) = @_;

    my @uploads = glob "$s->{dir}/$s->{bucket}/._S3rver_uploads/*";

    return scalar @uploads;
}


sub DESTROY {
    my ($s) = @_;

    local ($?, $!, $@);
    $s->stop if $s->{pid} && $s->{to};
}

1;
