require fieldgate.inc
require fieldgate-crates.inc
