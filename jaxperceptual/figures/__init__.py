"""The paper's figures 3 to 7, and the README's pictures.

3 and 4: `reconstruction`; 5: `equal_iterations`; 6 and 7: `side_by_side`. (8 and 9 are
`evaluation`'s.) Imports all but `ops`, `training`, `benchmarks` and
`commands`.
"""
