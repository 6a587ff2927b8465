printf "3\n1\n2\n" | sort -rn | head -n 1 >largest.txt; date -u -d "2024-07-01 12:00" +%A >day.txt
