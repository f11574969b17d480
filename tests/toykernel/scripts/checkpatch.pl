#!/usr/bin/env perl
# SPDX-License-Identifier: GPL-2.0
# A toy that knows three things to say, in the form that --terse and --show-types
# give the real one's.
use strict;
use warnings;

my $file = $ARGV[-1];
my %count = (ERROR => 0, WARNING => 0, CHECK => 0);
my $number = 0;
open(my $patch, '<', $file) or die "$file: $!\n";
while (my $line = <$patch>) {
	$number++;
	next unless $line =~ /^\+/;
	for (["ERROR", "TRAILING_WHITESPACE", qr/[ \t]$/],
	     ["WARNING", "TODO", qr/TODO/], ["CHECK", "BOOL", qr/== true/]) {
		my ($kind, $type, $what) = @$_;
		next unless $line =~ $what;
		print "$file:$number: $kind:$type: do not\n";
		$count{$kind}++;
	}
}
print "total: $count{ERROR} errors, $count{WARNING} warnings, $count{CHECK} checks, " .
      "$number lines checked\n";
exit($count{ERROR} + $count{WARNING} + $count{CHECK} > 0);
