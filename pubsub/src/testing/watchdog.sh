# Reads what our process says until it is gone, then stops the server and deletes the directory $1.
# Says a number: a process group is running.  `ended`: it has ended.  `hands off`: leave the directory alone.
trap '' HUP INT QUIT TERM
PATH=/usr/bin:/bin
directory=$1
group=

while read -r line; do
    case $line in
    ended) group= ;;
    'hands off') exit ;;
    *) group=$line ;;
    esac
done

# SIGQUIT is the immediate shutdown. The server removes postmaster.pid as its last act; `initdb` has none, and can be
# killed at once. An orphan may stay a zombie for ever where process 1 does not wait for it, so that its process group
# exists says little.
if [ -n "$group" ]; then
    kill -s QUIT -- "-$group"
    tries=200
    while [ "$tries" -gt 0 ] && [ -e "$directory/data/postmaster.pid" ] && kill -s 0 -- "-$group"; do
        tries=$((tries - 1))
        sleep 0.05
    done
    kill -s KILL -- "-$group"
fi

# More than once: a dying process may still create files.
tries=200
while [ "$tries" -gt 0 ] && [ -e "$directory" ]; do
    tries=$((tries - 1))
    rm -rf -- "$directory" || sleep 0.05
done
