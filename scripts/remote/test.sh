# The dry run's half of prepare.sh: tests the candidate, takes nothing.
# Takes: live test text source
candidate "$live" "$test" "$text" "$source"
