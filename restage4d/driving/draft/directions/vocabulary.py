"""The words that directions are made of. Tables alone; ``_`` joins the words of one term."""

from typing import Any


def split_words(text: str) -> frozenset[str]:
    """The words of a table's row."""
    return frozenset(text.split())


# verbs by kind of action; "cannot" are verbs that nothing is acted for
VERBS = {
    "turn": "turn rotate pivot swivel veer swing",
    "face": "face",
    "look": "look glance gaze peek stare",
    "walk": "walk move go step come travel approach advance proceed stroll wander leave retreat "
    "head stride slide crawl creep sneak stalk prowl tiptoe waddle march pace wade shuffle return "
    "depart swim roam amble plod saunter back",
    "run": "run trot gallop sprint jog dash rush hurry race charge canter bolt flee scamper dart",
    "jump": "jump hop leap bounce",
    "crouch": "crouch duck squat stoop lie cower lower dip kneel",
    "sit": "sit",
    "bow": "bow curtsy bend",
    "rise": "rise stand straighten",
    "lean": "lean tilt",
    "nod": "nod",
    "shake": "shake shiver wiggle tremble sway",
    "spin": "spin twirl whirl pirouette",
    "stretch": "stretch grow rear",
    "wave": "wave",
    "lift": "lift raise",
    "wag": "wag",
    "stay": "stay wait pause stop rest freeze halt remain brake park",
    "drive": "drive reverse",
    "climb": "climb clamber",
    "kick": "kick",
    "roll": "roll",
    "graze": "graze eat drink sniff feed nibble browse munch",
    "dance": "dance",
    "limp": "limp hobble",
    "stumble": "stumble trip stagger",
    "fall": "fall collapse topple",
    "pounce": "pounce lunge",
    "hold": "hold put",
    "cannot": "get bark yawn meow moo neigh roar howl sleep doze fly flap speak talk say sing "
    "smile "
    "laugh cry blink wink chew lick bite scratch dig play chase catch throw carry pick open "
    "close push pull shine follow pan zoom track read write smoke honk accelerate disappear appear "
    "vanish transform paint cook bake hide juggle land grab drop hit reach point clap swoop "
    "glide float dive mount blow become want decide wake pass cross "
    "change shoot fight hug kiss sneeze cough breathe happen contain repeat feel",
}
IRREGULAR_FORMS = {
    "went": "go", "gone": "go", "came": "come", "ran": "run", "leapt": "leap", "lying": "lie",
    "lay": "lie", "sat": "sit", "rose": "rise", "risen": "rise", "stood": "stand",
    "leant": "lean", "shook": "shake", "shaken": "shake", "spun": "spin", "grew": "grow",
    "grown": "grow", "got": "get", "drove": "drive", "driven": "drive", "ate": "eat",
    "eaten": "eat", "drank": "drink", "fell": "fall", "fallen": "fall", "froze": "freeze",
    "frozen": "freeze", "swam": "swim", "crept": "creep", "bent": "bend", "knelt": "kneel",
    "flew": "fly", "held": "hold", "bit": "bite", "swung": "swing",
    "strode": "stride", "slid": "slide", "stopped": "stop", "bowed": "bow",
    "fled": "flee", "keep_still": "stay", "keeps_still": "stay", "kept_still": "stay",
    "come_to_a_stop": "stop", "comes_to_a_stop": "stop",
    "came_to_a_stop": "stop", "coming_to_a_stop": "stop", "come_to_a_halt": "stop",
    "comes_to_a_halt": "stop",
    "keeping_still": "stay", "travelled": "travel", "travelling": "travel",
}  # fmt: skip
UNDOUBLED = split_words("wander lower travel open happen remain")  # lowering, not lowerring
# What a verb says beyond its kind.
MEANINGS: dict[str, dict[str, Any]] = {
    "approach": {"direction": "toward"},
    "come": {"direction": "toward"},
    "leave": {"direction": "away"},
    "depart": {"direction": "away"},
    "flee": {"direction": "away"},
    "retreat": {"direction": "back"},
    "back": {"direction": "back"},
    "reverse": {"direction": "back"},
    "return": {"direction": "return"},
    "lie": {"amount": 1.6},
    "rear": {"amount": 1.4},
    "bounce": {"amount": 0.6},
    "shiver": {"limb": "body", "amount": 0.4, "count": 4},
    "tremble": {"limb": "body", "amount": 0.4, "count": 4},
    "wiggle": {"limb": "body"},
    "sway": {"limb": "body", "pace": 0.7},
    "stroll": {"pace": 0.8},
    "amble": {"pace": 0.8},
    "creep": {"pace": 0.6},
    "crawl": {"pace": 0.6},
    "sneak": {"pace": 0.6},
    "stalk": {"pace": 0.6},
    "prowl": {"pace": 0.6},
    "tiptoe": {"pace": 0.6},
    "shuffle": {"pace": 0.6},
    "trot": {"pace": 0.8},
    "jog": {"pace": 0.8},
}
# A verb and a particle or adverb that together are another kind, and what they say beyond it.
PHRASAL_VERBS: dict[tuple[str, str], dict[str, Any]] = {
    ("get", "up"): {"verb": "rise"},
    ("get", "down"): {"verb": "crouch"},
    ("get", "toward"): {"verb": "walk", "direction": "toward"},
    ("get", "away"): {"verb": "walk", "direction": "away"},
    ("sit", "up"): {"verb": "rise"},
    ("stand", "still"): {"verb": "stay"},
    ("stand", "place"): {"verb": "stay"},
    ("stand", "hind"): {"verb": "stretch", "amount": 1.4},
    ("rise", "hind"): {"verb": "stretch", "amount": 1.4},
    ("rear", "hind"): {"verb": "stretch", "amount": 1.4},
    ("stay", "still"): {"verb": "stay"},
    ("remain", "still"): {"verb": "stay"},
    ("stop", "still"): {"verb": "stay"},
    ("hold", "still"): {"verb": "stay"},
    ("back", "up"): {"verb": "walk", "direction": "back"},
    ("back", "away"): {"verb": "walk", "direction": "back"},
    ("turn", "over"): {"verb": "roll"},
    ("roll", "over"): {"verb": "roll"},
    ("roll", "around"): {"verb": "roll"},
    ("roll", "forward"): {"verb": "drive", "direction": "forward"},
    ("roll", "back"): {"verb": "drive", "direction": "back"},
    ("come", "back"): {"verb": "walk", "direction": "return"},
    ("go", "back"): {"verb": "walk", "direction": "return"},
    ("head", "back"): {"verb": "walk", "direction": "return"},
    ("turn", "back"): {"verb": "turn", "direction": "return"},
    ("look", "updown"): {"verb": "look", "each": ("up", "down")},
    ("look", "around"): {"verb": "look", "each": ("left", "right")},
    ("look", "sides"): {"verb": "look", "each": ("left", "right")},
    ("face", "forward"): {"verb": "look", "direction": "forward"},
}
# A kind with a limb of its own may be another: "turns its head left" looks left.
KINDS_OF_LIMBS = {
    ("turn", "head"): "look", ("walk", "head"): "look", ("lean", "head"): "look",
    ("lift", "head"): "look", ("hold", "head"): "look", ("crouch", "head"): "look", ("rise",
    "head"): "look",
    ("look", "head"): "look", ("fall", "head"): "look", ("bow", "head"): "look",
    ("drive", "head"): "look",
    ("nod", "head"): "nod", ("shake", "head"): "shake", ("wag", "head"): "shake",
    ("wave", "head"): "shake",
    ("walk", "tail"): "wag", ("wave", "tail"): "wag", ("shake", "tail"): "wag",
    ("lift", "tail"): "raise_tail", ("raise_tail", "tail"): "raise_tail", ("rise", "tail"):
    "raise_tail",
    ("lean", "tail"): "wag", ("turn", "tail"): "wag", ("wag", "tail"): "wag",
    ("walk", "limb"): "lift", ("stretch", "limb"): "lift", ("shake", "limb"): "wave",
    ("turn", "limb"): "wave",
    ("wave", "limb"): "wave", ("lift", "limb"): "lift", ("rise", "limb"): "lift",
    ("kick", "limb"): "kick",
    ("turn", "body"): "turn", ("lean", "body"): "lean", ("shake", "body"): "shake",
    ("wag", "body"): "shake", ("crouch", "body"): "crouch", ("stretch", "body"): "stretch",
    ("dance", "body"): "dance", ("walk", "body"): "walk", ("spin", "body"): "spin",
    ("bow", "limb"): "crouch",
}  # fmt: skip
HEAD_VERBS = {"lower": "down", "dip": "down", "drop": "down", "bow": "down", "fall": "down",
              "bend": "down", "lift": "up", "raise": "up", "rise": "up"}  # fmt: skip

DIRECTIONS = {
    "left": "left leftward leftwards left-hand left_hand_side anticlockwise counterclockwise "
    "counter-clockwise "
    "anti-clockwise counter_clockwise anti_clockwise",
    "right": "right rightward rightwards right-hand right_hand_side clockwise",
    "forward": "forward forwards ahead onward onwards straight straight_ahead straight_on "
    "straight_forward",
    "back": "back backward backwards behind",
    "toward": "closer nearer closer_and_closer nearer_and_nearer",
    "away": "away off farther further far_away into_the_distance",
    "around": "around round about",
    "up": "up upward upwards upright taller",
    "down": "down downward downwards",
    "place": "in_place on_the_spot in_one_spot in_one_place on_one_spot",
    "over": "over",
    "out": "out",
    "still": "still motionless",
    "hind": "on_your_hind_legs on_their_hind_legs on_its_hind_legs on_his_hind_legs "
    "on_her_hind_legs on_hind_legs on_two_legs",
    "updown": "up_and_down",
    "sides": "from_side_to_side side_to_side left_and_right right_and_left",
    "shuttle": "back_and_forth to_and_fro backwards_and_forwards backward_and_forward",
}
OPPOSITES = {"left": "right", "right": "left", "forward": "back", "back": "forward",
             "toward": "away", "away": "toward", "": "back", "up": "down",
             "down": "up"}  # fmt: skip
VIEWS = {
    "picture": "of_the_frame of_the_screen of_the_picture of_the_image of_the_shot of_the_video "
    "of_the_view of_the_scene side_of_the_frame side_of_the_screen side_of_the_picture "
    "side_of_the_image side_of_the_shot side_of_the_video of_frame of_screen in_the_frame "
    "in_the_picture as_seen_from_the_camera as_seen_by_the_camera from_the_camera's_view "
    "from_our_point_of_view edge_of_the_frame edge_of_the_screen edge_of_the_picture",
    "own": "from_its_own_view from_its_own_point_of_view from_its_point_of_view "
    "from_his_point_of_view from_her_point_of_view",
}
LIMBS = {
    "head": "head heads nose face muzzle snout",
    "tail": "tail tails",
    "body": "body itself himself herself themselves hips bodies",
    "limb": "paw paws leg legs foot feet hoof hooves arm arms hand hands limb limbs wing wings fin "
    "fins foreleg forelegs",
}
# Which limb it is, beyond its side; the first that is said counts.
WHICH_LIMBS = {
    "front": "front fore foreleg forelegs", "hind": "hind rear back",
    "arm": "arm arms hand hands", "leg": "leg legs foot feet",
}  # fmt: skip
LIMB_PARTS = split_words("front hind fore rear back upper whole entire both")
ENDS = split_words("front hind fore rear back")
WHOLE_PARTS = split_words("whole entire both")
PAIRS = split_words("paws legs feet hooves arms hands limbs wings fins forelegs")
# Places that say where to look.
SIGHTS = {"up": "sky ceiling clouds stars moon sun", "down": "ground floor feet"}

AMOUNTS = {
    0.5: "slightly little a_little a_bit a_little_bit bit a_tiny_bit a_wee_bit small gently "
    "subtly tiny halfway half_way "
    "short partly somewhat partway",
    1.6: "far lot a_lot deep deeply high wide widely big greatly strongly much long wildly fully "
    "huge large as_high_as_possible as_high_as_it_can as_high_as_he_can as_high_as_she_can as_far_"
    "as_possible tall",
}
PACES = {
    0.6: "slowly slow slower lazily calmly leisurely sluggishly carefully at_a_slow_pace "
    "take_your_time takes_its_time "
    "step_by_step one_step_at_a_time unhurried",
    1.6: "quickly quick quicker fast faster rapidly swiftly hastily suddenly briskly abruptly "
    "at_full_speed twice_as_fast as_fast_as_possible as_fast_as_it_can as_fast_as_he_can "
    "as_fast_as_she_can "
    "immediately",
}
NUMBERS = {
    0: "zero", 1: "one", 2: "two a_couple_of", 3: "three a_few few several", 4: "four", 5:
    "five", 6: "six",
    7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen",
    14: "fourteen", 15: "fifteen", 16: "sixteen", 17: "seventeen", 18: "eighteen",
    19: "nineteen", 20: "twenty", 30: "thirty", 40: "forty", 45: "forty-five", 50: "fifty",
    60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety", 100: "hundred",
}  # fmt: skip
TIMES = {1: "once", 2: "twice", 3: "thrice repeatedly several_times many_times again_and_again"}
FRACTIONS = {
    90.0: "quarter quarter_turn a_quarter_turn quarter_of_a_turn a_quarter_of_a_turn "
    "quarter_circle",
    180.0: "half half_turn half_a_turn a_half_turn half_circle half_a_circle a_half_circle "
    "half_way_around halfway_around u-turn u_turn",
    360.0: "full complete whole full_circle full_turn in_a_circle in_a_full_circle all_the_way_"
    "around all_the_way_round full_rotation complete_circle whole_circle complete_turn",
}
# Fractions that are nouns: "makes a quarter turn".
TURNS = split_words("turn circle rotation u-turn")
UNITS = {
    "degrees": "degrees degree deg °",
    "seconds": "seconds second secs sec s",
    "minutes": "minutes minute mins min",
    "steps": "steps step paces pace strides",
    "times": "times time x",
    "turns": "turns turn rotations rotation circles circle revolutions revolution spins spin "
    "rounds",
}

DETERMINERS = "the a an this that these those some another"
POSSESSIVES = "its his her their my our your it's the_subject's"
PRONOUNS = "it he she they you him her them who"
# Parts that the body plan does not know: what they do is not acted.
UNKNOWN_PARTS = split_words(
    "wheel wheels ear ears eye eyes mouth hat mane hair trunk beak lips jaw tongue whiskers finger "
    "fingers door doors hood roof horn horns eyebrows shoulder shoulders knee knees owner "
    "coat skirt dress fur belly chest back"
)
RELATIVES = "that which who being"
# Other names of whatever the subject is.
SUBJECT_NAMES = split_words("subject animal creature figure person character one")
# What is in the picture, or makes it, and is never the subject.
NEVER_SUBJECTS = split_words(
    "camera shot scene setting background foreground view frame motion movement lens lighting "
    "light sun wind sky surrounding surroundings building buildings rain snow leaves clouds video "
    "image picture weather music shadow nobody none everything"
)
# They do not walk; they roll.
VEHICLES = split_words(
    "car truck bus lorry van motorbike motorcycle bike bicycle train tram taxi cab tractor jeep "
    "scooter vehicle suv engine ambulance pickup trailer bulldozer tank cart wagon "
    "ball barrel skateboard trolley"
)
VIEWERS = "camera viewer viewers us me audience lens cameraman"

PREPOSITIONS = {
    "goal": "to toward towards into onto up_to over_to off_to down_to back_to out_to round_to "
    "around_to upto facing closer_to nearer_to close_to near_to on at all_the_way_to",
    "source": "from out_of off_of",
    "place": "in above below under across along through by near past beside behind between over "
    "against "
    "inside outside after within upon amid among in_front_of next_to on_top_of with like for of "
    "than "
    "around round about up down off without via onto",
}
LINKS = {
    "then": "then and_then but afterwards next finally later after_that lastly and , ; : or nor "
    "plus followed_by ends_with",
    "stop": ". ! ? \n",
    "together": "while simultaneously meanwhile whilst and_meanwhile",
    "after": "after once when as_soon_as",
    "before": "before",
    "until": "until till because so_that if unless",
    "first": "but_first",
    "instead": "instead_of rather_than than",
}
AT_ONCE = "at_the_same_time at_once simultaneously together meanwhile"
# Whether it is done cannot be told.
HEDGES = "almost nearly hardly barely scarcely rarely seldom"
ADVERBS = "always often sometimes soon perhaps maybe even ever yet instead later already rather"
NEGATIONS = (
    "not no never without cannot neither nothing avoid avoids avoiding refuse refuses fail fails "
    "forget "
    "forgets"
)
STOPPING = split_words("stop quit")
# Verbs that only carry another: "starts walking", "takes a bow", "make the dog sit".
AUXILIARIES = (
    "is are was were be been am will would can could shall should must may might has have "
    "had do does did start starts started begin begins began beginning starting continue continues "
    "keep keeps keeping try tries wants want_to manages goes_on going_to gonna about_to"
)
LIGHT_VERBS = "take takes taking took make makes making made give gives giving gave perform "
LIGHT_VERBS += "performs performing do does doing did has have go_for goes_for"
REQUESTS = "please let make have show get i_want i'd_like i_would_like can_you could_you let's"
FILLERS = (
    "very just so also too again really simply now there here as way more a_second_time it's "
    "he's she's they're he'll she'll it'll they'll i please okay ok first all_the_way "
    "own hand only well directly right_now right_away"
)
