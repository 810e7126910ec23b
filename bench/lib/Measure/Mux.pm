package Measure::Mux;

# Copyright (C) nginx-livestream contributors
#
# What it costs to write a part: libavformat's mov muxer against our own
# fragment writer (bench/mux.c).

use v5.28;
use warnings;

use Measure qw(row say_so);


sub run {
    my $build = $ENV{TEST_NGINX_BUILD} || 'build';

    system('make', '-s', '-C', 'bench', 'BUILD=' . Cwd::abs_path($build)) == 0
        or die "bench/ can't be built\n";

    my $said = `\Q$build\E/bench/mux`;
    die "bench/mux failed\n" if $?;

    print STDERR $said =~ s/^/    /mgr;

    my @ratios = $said =~ /^  ratio +([\d.]+)/mg;

    # what is written costs the kernel the same, whoever wrote it
    return (
        row('a part: CPU of libavformat\'s muxer, to our writer\'s',
            "$ratios[1]", '> 2.0', $ratios[1] > 2),
        row('  with the kernel\'s copies into files', "$ratios[0]"),
    );
}


1;
