# As the package brought it: a conffile (dpkg's status), any other file of it, one that ucf manages.
brought() {
 f=$(readlink -f "$1"); [ -s "$f" ] || return 0; m=$(md5sum <"$f"); m=${m%% *}
 grep -qF " $f $m" /var/lib/dpkg/status || grep -qxF "$m  $f" /var/lib/ucf/hashfile ||
 grep -qsxF "$m  ${f#/}" /var/lib/dpkg/info/*.md5sums
} 2>/dev/null
