# FILE: whether it is as its Debian package installed it, as a conffile, as another file, or by ucf.
is_package_file() {
 f=$(readlink -f "$1"); [ -s "$f" ] || return 0; m=$(md5sum <"$f"); m=${m%% *}
 grep -qF " $f $m" /var/lib/dpkg/status || grep -qxF "$m  $f" /var/lib/ucf/hashfile ||
 grep -qsxF "$m  ${f#/}" /var/lib/dpkg/info/*.md5sums
} 2>/dev/null
