package Livestream::Test::S3::Client;

# Copyright (C) nginx-livestream contributors
#
# The S3 engine, without nginx around it (t/unit/s3_client.c):
#
#     my $c = Livestream::Test::S3::Client->new($s3, secret => 'another');
#     my $r = $c->put($key, $path);     # waits; { rc => 'ok', text => ... }
#     my $id = $c->begin(put => $key, $path);
#     $c->stop; $c->end($id);           # waits for it
#     $c->usage                         # s of CPU
#
# rc: ok, absent, again, refused, stopped.

use v5.28;
use warnings;

use Carp qw(croak);
use IO::Handle;
use IO::Select;
use POSIX ();
use Time::HiRes qw(time);

use Livestream::Test ();

use constant WAIT => 60;

my @names = qw(ok absent again refused stopped);


sub new {
    my ($class, $s3, %arg) = @_;

    my %env = (
        S3_URI => $s3->uri, S3_ENDPOINT => $s3->endpoint,
        map { 'S3_' . uc() => $arg{$_} // $s3->{$_} // '' }
            qw(region access secret connections token),
    );
    $env{S3_URI} = $arg{uri} if $arg{uri};
    $env{S3_ENDPOINT} = $arg{endpoint} if $arg{endpoint};
    delete $env{$_} for grep { $env{$_} eq '' } keys %env;

    pipe my $in, my $to or die "pipe: $!\n";
    pipe my $from, my $out or die "pipe: $!\n";

    my $pid = fork() // die "fork: $!\n";
    my $build = $ENV{TEST_NGINX_BUILD} // 'build';

    if ($pid == 0) {
        open STDIN, '<&', $in;
        open STDOUT, '>&', $out;
        delete @ENV{qw(http_proxy HTTP_PROXY all_proxy ALL_PROXY)};
        %ENV = (%ENV, %env);
        { no warnings; exec "$build/unit/s3_client"; }
        print STDERR "$build/unit/s3_client: $!\n";
        POSIX::_exit(127);
    }

    $to->autoflush(1);
    $from->blocking(0);

    return bless { pid => $pid, to => $to, from => $from, next => 1,
                   done => {}, buffer => '' }, $class;
}


sub begin {
    my ($c, $what, @words) = @_;

    my $id = $c->{next}++;

    print { $c->{to} } join(' ', $what, $id, @words), "\n";

    return $id;
}


# undef: not within the time
sub end {
    my ($c, $id, $seconds) = @_;

    my $end = time() + Livestream::Test::slow($seconds // WAIT);
    my $select = IO::Select->new($c->{from});

    until ($c->{done}{$id}) {
        my $left = $end - time();

        $select->can_read($left > 0 ? $left : 0) or return undef;

        sysread $c->{from}, $c->{buffer}, 65536, length $c->{buffer}
            or croak 'the S3 client has ended';

        while ($c->{buffer} =~ s/^(\S+) (\d+) ?(.*)\n//) {
            $c->{done}{$1} = { rc => $names[$2], text => $3 };
        }
    }

    return delete $c->{done}{$id};
}


sub put    { my $c = shift; $c->end($c->begin(put => @_)) }
sub fetch  { my $c = shift; $c->end($c->begin(fetch => @_)) }
sub remove { my $c = shift; $c->end($c->begin(remove => @_)) }
sub url    { my $c = shift; $c->end($c->begin(url => @_))->{text} }


sub control {
    my ($c, $word) = @_;

    print { $c->{to} } "$word\n";

    return $c->end('-')->{text};
}


sub stop  { $_[0]->control('stop') }
sub go    { $_[0]->control('go') }
sub usage { $_[0]->control('usage') / 1e6 }


# its exit status
sub close {
    my ($c) = @_;

    my $pid = delete $c->{pid} or return;

    close delete $c->{to};
    waitpid $pid, 0;

    return $?;
}


sub DESTROY {
    my ($c) = @_;

    local ($?, $!, $@);

    if (my $pid = delete $c->{pid}) {
        kill KILL => $pid;
        waitpid $pid, 0;
    }
}

1;
