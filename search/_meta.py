"""Meta-prompts: how searchers ask a proposer for a better instruction. Slots are filled by `template.fill`.

Each is the shortest form of its paper's that a small model can follow, too. APE's are in ape.py, the
variation that several searchers share in _text.py.
"""

OPRO = (
    "Your task is to write an instruction. Here are some instructions with their scores; a higher score is "
    "better.\n\n{{scored}}\n\nHere are input-output pairs:\n\n{{demonstrations}}\n\n"
    "Write a new instruction that is different from the old ones and has a score as high as possible.\n\n"
    "Instruction:"
)
"""Yang et al. 2023, "Large Language Models as Optimizers" (arXiv 2309.03409), figure 3."""

SCORED = "Instruction: {{instruction}}\nScore: {{score}}"
"""One line pair of `{{scored}}`, worst first; scores are rounded to whole numbers from 0 to 100."""

ERROR = "Input: {{input}}\nOutput: {{output}}\nExpected: {{expected}}"
"""One error of `{{errors}}`."""

GRADIENT = (
    "I gave a model this instruction: {{instruction}}\n\nIt got these examples wrong:\n\n{{errors}}\n\n"
    "Say in one sentence what is wrong with the instruction."
)
"""The textual gradient: Pryzant et al. 2023, "Automatic Prompt Optimization with Gradient Descent and Beam
Search" (arXiv 2305.03495), section 2."""

EDIT = (
    "I gave a model this instruction: {{instruction}}\n\nIt got these examples wrong:\n\n{{errors}}\n\n"
    "The problem is this: {{gradient}}\n\nWrite a better instruction.\n\nInstruction:"
)
"""The step along the gradient (the same, section 2)."""

REFLECT = (
    "I gave an assistant this instruction: {{instruction}}\n\nHere are inputs, its outputs, and how they "
    "should have been:\n\n{{errors}}\n\nWrite a new instruction for the assistant.\n\nInstruction:"
)
"""Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution" (arXiv 2507.19457), appendix B."""

CROSSOVER = (
    "Combine the two instructions into a new and better one.\n\nInstruction 1: {{first}}\n"
    "Instruction 2: {{second}}\n\nInstruction:"
)
"""Guo et al. 2023, "Connecting Large Language Models with Evolutionary Algorithms" (EvoPrompt, arXiv
2309.08532), section 3.2."""
