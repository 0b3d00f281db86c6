# The dry run's half of prepare.sh: tests the candidate, takes nothing.
# Takes: live test text
candidate "$live" "$test" "$text"
