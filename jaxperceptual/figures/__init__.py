"""The paper's figures 3 to 7.

3 and 4: `reconstruction`; 5: `equal_iterations`; 6 and 7: `side_by_side`. (8 and 9 are
`evaluation`'s.) `readme_pictures` is a program. Imports all but `ops`, `training`,
`benchmarks` and `commands`.
"""
