# The README and the shipped configuration against the code: directives with
# their defaults, both ways; the Makefile's targets; files that are linked to.

use v5.28;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

chdir abs_path(dirname($0) . '/..') or die "$!\n";


sub read_file {
    my ($path) = @_;

    open my $fh, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$fh>;
}


my $readme = read_file('README.md');
my %context = (
    NGX_MAIN_CONF       => 'main',
    NGX_LIVESTREAM_CONF => 'livestream',
    NGX_RTMP_MAIN_CONF  => 'rtmp',
    NGX_RTMP_SRV_CONF   => 'rtmp server',
    NGX_RTMP_APP_CONF   => 'application',
    NGX_HTTP_MAIN_CONF  => 'http',
    NGX_HTTP_SRV_CONF   => 'http server',
    NGX_HTTP_LOC_CONF   => 'location',
);


# ---- what the code has

# A default as it would be written in a configuration.
sub value {
    my ($text, $slot, $expression) = @_;

    $expression =~ s/\(\w+(?:\s*\*)?\)//g;      # casts

    return $1 if $slot =~ /enum/ && $text
        =~ /\{ ngx_string\("(\w+)"\), \Q$expression\E \}/;

    return $expression unless $expression =~ /^[\d\s*+()\/-]+$/;

    my $n = eval $expression;

    return $n ? 'on' : 'off' if $slot =~ /flag/;

    if ($slot =~ /_sec_/) {
        for ([d => 86400], [h => 3600], [m => 60]) {
            return $n / $_->[1] . $_->[0] if $n && $n % $_->[1] == 0;
        }

        return "${n}s";
    }

    if ($slot =~ /_msec_/) {
        return $n % 1000 || !$n ? "${n}ms" : $n / 1000 . 's';
    }

    if ($slot =~ /size|off_slot/) {
        for (['m', 1048576], ['k', 1024]) {
            return $n / $_->[1] . $_->[0] if $n && $n % $_->[1] == 0;
        }
    }

    return $n % 1000 || !$n ? $n : $n / 1000 . 'k' if $slot =~ /bitrate/;

    return $n;
}


sub default_of {
    my ($text, $slot, $field) = @_;

    return undef unless $field;
    return undef unless $text =~ /
        ngx_conf_(?:init\w*value|merge_\w*value)
        \(\s* \w+->\Q$field\E \s*,
        (?:\s* \w+->\Q$field\E \s*,)?
        \s* ([^;]*?) \s* \);/x;

    return value($text, $slot, $1 =~ s/\s+/ /gr);
}


my (%code, %source);

for my $file (glob 'modules/*.c ngx_livestream_*/*.c') {
    my $text = read_file($file);

    while ($text =~ /^static ngx_command_t  \w+\[\] = \{(.*?)^\};/gsm) {
        my $table = $1;

        while ($table =~ /\{\s*ngx_string\("(\w+)"\),\s*([^,]+),\s*(\w+),
                          \s*\w+,\s*([^{}]*?),\s*[^,{}]+\}/gx) {
            my ($name, $flags, $slot, $offset) = ($1, $2, $3, $4);
            my ($field) = $offset =~ /offsetof\(\w+,\s*([\w.]+)\)/;

            for my $flag ($flags =~ /NGX_\w+_CONF\b/g) {
                my $where = $context{$flag} or next;

                $code{"$where $name"} = default_of($text, $slot, $field);
                $source{"$where $name"} = $text;
            }
        }
    }
}

cmp_ok(scalar keys %code, '>', 5, 'the code has directives');


# ---- what the README says: | `name ARGUMENTS` | default | context | ... |

my %described;

while ($readme =~ /^\| `(\w+)[^`]*` \| *([^|\n]*?) *\| *([^|\n]*?) *\|/gm) {
    my ($name, $default, $contexts) = ($1, $2, $3);

    $default = $default =~ /^`(.*)`$/ ? $1 : undef;
    $described{"$_ $name"} = $default for split /,\s*/, $contexts;
}

is_deeply([grep { !exists $described{$_} } sort keys %code], [],
          'every directive of the code is in the README');
is_deeply([grep { !exists $code{$_} } sort keys %described], [],
          'every directive of the README is in the code');

for my $name (sort keys %code) {
    next unless exists $described{$name};

    my $said = $described{$name};
    my $real = $code{$name};

    if (defined $real) {
        is($said, $real, "default of \"$name\"");

    } elsif (defined $said) {
        ok(index($source{$name}, "\"$said") >= 0
           || index($source{$name}, $said) >= 0,
           "default of \"$name\", $said, is in the code");
    }
}


# ---- the shipped configuration uses what there is

my $conf = read_file('conf/livestream.conf') =~ s/#.*//gr;
my ($block) = $conf =~ /^livestream \{(.*?)^\}/sm;

for my $name ($block =~ /^\s*(\w+)\s[^;]*;/gm) {
    ok(exists $code{"livestream $name"}, "livestream.conf: $name exists");
}

for my $name ($conf =~ /\b(livestream_\w+)/g) {
    ok(exists $code{"location $name"}, "livestream.conf: $name exists");
}


# ---- targets

my $makefile = read_file('Makefile');
my ($phony) = $makefile =~ /^\.PHONY:((?:.*\\\n)*.*)/m;
my %target = map { $_ => 1 } grep { !/^(?:all|FORCE|\\)$/ } split ' ', $phony;
my %told = map { $_ => 1 } $readme =~ /`make ([a-z-]+)[^`]*`/g;

is_deeply([grep { !$told{$_} } sort keys %target], [],
          'every make target is in the README');
is_deeply([grep { !$target{$_} } sort keys %told], [],
          'every make target of the README exists');


# ---- links to our own files

for my $path ($readme =~ /(?:\]\(|src(?:set)?=")([^)"#:]+)[)"#]/g) {
    ok(-e $path, "$path exists");
}

done_testing();
