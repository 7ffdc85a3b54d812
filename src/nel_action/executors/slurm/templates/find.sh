# Runs on the login node: find.sh OUTPUT_DIR. Prints the records of all attempts: NAME FILE CONTENTS; for a submission
# that may be in progress NAME intent SECONDS, by the file system's clock; and on the last line that clock's time.
cd "$1" 2>/dev/null || exit 0
for file in owner submitted; do
    grep -Hs . nel-*/state/$file | sed -n "s|^\(nel-[0-9a-f-]*\)/state/$file:|\1 $file |p"
done
stat -c '%n %Y' nel-*/state/intent 2>/dev/null | sed -n 's|^\(nel-[0-9a-f-]*\)/state/intent |\1 intent |p'
{ probe=$(mktemp .nel-XXXXXX) && stat -c %Y "$probe" && rm -f "$probe"; } 2>/dev/null || date +%s
