# Runs on the login node: close_record.sh OUTPUT_DIR KEY. Closes the records of a key's requests, so that no later job
# replays them.
umask 077
for directory in "$1/record/$2"/*/; do
    [ ! -d "$directory" ] || : >"${directory}closed" || exit 74
done
