"""PromptBreeder's wordings: mutation prompts, thinking styles, and how each operator asks.

Source: Fernando et al. 2023, "Promptbreeder: Self-Referential Self-Improvement Via Prompt Evolution" (arXiv
2309.16797), section 3 and its lists in the appendix: shorter ones of these, with plain ones that small
models follow in front.
"""

MUTATIONS = (
    "Generate a variation of the following instruction while keeping the semantic meaning.",
    "Rewrite this instruction in other words.",
    "Say the instruction again in another way.",
    "Make the instruction more precise.",
    "Modify the following instruction creatively, giving some advice on how to solve it:",
    "Elaborate on the instruction giving some detailed advice on how to do what it wants.",
    "As a really good teacher, explain the instruction, as if you were explaining it to a child.",
    "How would you help an LLM to follow the instruction?",
    "Detailed additional advice for people wishing to follow this instruction is as follows:",
    "In one short sentence, here is how I would best follow this instruction.",
    "Say that instruction again in another way. DON'T use any of the words in the original instruction.",
    "Rephrase the instruction without using any of the same words. Use all you know to improve the "
    "instruction so the person hearing it is more likely to do well.",
)
"""Mutation prompts to start from."""

STYLES = (
    "Let's think step by step.",
    "How can I simplify the problem so that it is easier to solve?",
    "How can I break down this problem into smaller, more manageable parts?",
    "What are the key assumptions underlying this problem?",
    "What is the core issue or problem that needs to be addressed?",
    "What are the alternative perspectives or viewpoints on this problem?",
    "How could I devise an experiment to help solve that problem?",
    "What kinds of solution typically are produced for this kind of problem specification?",
    "Ignoring the current best solution, create an entirely new solution to the problem.",
    "Let's make a step by step plan and implement it with good notion and explanation.",
)
"""Thinking styles."""

INITIAL = "{{mutation}} {{style}}\n\nInput: {{description}}\nOutput:"
"""The first instruction of a unit (section 3.1)."""

ZERO_ORDER = "{{description}}\n\nA list of 100 hints:"
"""Zero-order prompt generation: the first hint counts (section 3.2.1)."""

FIRST_ORDER = "{{mutation}}\n\nInput: {{instruction}}\nOutput:"
"""First-order prompt generation (section 3.2.1)."""

DISTRIBUTION = (
    "Here is a list of instructions:\n\n{{listed}}\n\n"
    "Write a new instruction that is different from the old ones.\n\nInstruction:"
)
"""Estimation of distribution: the population in random order (section 3.2.2)."""

RANKED = (
    "{{mutation}}\n\nA list of instructions in descending order of score. Number {{next}} is the best. It "
    "resembles number {{last}} more than it does number 1.\n\n{{listed}}\n\nInstruction {{next}}:"
)
"""Estimation of distribution by rank and index. The list is in ascending order and said to be in descending
order: told the truth, the paper's model repeated the last entry (section 3.2.2)."""

LINEAGE = "Instructions found in ascending order of quality:\n\n{{listed}}\n\nInstruction:"
"""Lineage: a unit's elites, oldest first (section 3.2.2)."""

ZERO_ORDER_HYPER = "{{description}}\n\n{{style}}"
"""Zero-order hypermutation: a new mutation prompt from the task and a thinking style (section 3.2.3)."""

FIRST_ORDER_HYPER = "Please summarize and improve the following instruction:\n\n{{mutation}}"
"""First-order hypermutation: a new mutation prompt from the old one (section 3.2.3)."""
