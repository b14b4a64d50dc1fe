"""Word lists behind the guards: what counts as a number, a unit, a name, an opposite. English first, data only."""

from __future__ import annotations

from costkit.cache.guard_lemmas import lemma

# --- folding ---------------------------------------------------------------------------------------------------------

REWRITES = {
    "won't": "will not", "wont": "will not", "can't": "can not", "cant": "can not", "cannot": "can not",
    "shan't": "shall not", "at least": "atleast", "at the least": "atleast", "at most": "atmost",
    "at the most": "atmost", "greater than or equal to": "atleast", "more than or equal to": "atleast",
    "less than or equal to": "atmost", "equal to": "equalto", "not equal to": "otherthan", "no more than": "atmost", "not more than": "atmost", "no less than": "atleast",
    "not less than": "atleast", "no fewer than": "atleast", "up to": "atmost", "no later than": "before",
    "no earlier than": "after", "most expensive": "dearest", "priciest": "dearest", "costliest": "dearest",
    "least expensive": "cheapest", "more expensive": "dearer", "pricier": "dearer", "costlier": "dearer",
    "less expensive": "cheaper", "per cent": "percent", "no longer": "not", "no matter": "whatever",
    "not only": "and", "whether or not": "whether", "or not": " ", "why not": "why", "wanna": "want to",
    "gonna": "going to", "how come": "why", "for what reason": "why", "how to": "how do", "hows": "how is",
    "whats": "what is", "wheres": "where is", "whos": "who is",
    "the us": "the usa",
    "nyc": "new york",
    "wwii": "world war 2", "ww2": "world war 2", "wwi": "world war 1", "ww1": "world war 1", "ww3": "world war 3",
    "wwiii": "world war 3", "o'clock": "oclock", "a half": "half", "half a": "0.5", "half an": "0.5",
    "sign in": "log in", "sign out": "log out", "login": "log in", "logout": "log out", "signin": "log in",
    "signout": "log out", "c++": "cplusplus", "c#": "csharp", "f#": "fsharp", ".net": "dotnet",
    "nothing but": "only", "don't know": "wonder", "dont know": "wonder", "do not know": "wonder",
    "don't understand": "wonder", "do not understand": "wonder", "dont understand": "wonder", "not sure": "wonder",
    "don't remember": "wonder", "can't figure out": "wonder", "cannot figure out": "wonder", "don't forget": "remember",
    "other than": "except", "aside from": "except", "all but": "except", "a few": "few",
    "get rid of": "remove", "instead of": "instead", "rather than": "instead", "can't remember": "forgot", "cannot remember": "forgot", "can not remember": "forgot", "opposed to": "vs", "compared to": "vs", "compared with": "vs", "in comparison to": "vs",
}  # fmt: skip

# --- numbers, units, dates -------------------------------------------------------------------------------------------

ONES = {
    word: value
    for value, words in enumerate(
        "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
        "seventeen|eighteen|nineteen".split("|")
    )
    for word in words.split()
}
TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
SCALES = {
    "hundred": 100, "thousand": 1_000, "lakh": 100_000, "lac": 100_000, "million": 1_000_000, "crore": 10_000_000,
    "billion": 1_000_000_000, "trillion": 1_000_000_000_000, "dozen": 12, "k": 1_000,
}  # fmt: skip
SUFFIXES = {"k": 1_000, "mn": 1_000_000, "bn": 1_000_000_000}
ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), start=1
    )
}
TIMES = {"once": 1, "twice": 2, "thrice": 3, "couple": 2}
# Roman numerals that are no other word in lower case.
ROMAN = {"ii": 2, "iii": 3, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12}

# dimension: unit names (first one shows), each group with the factor to the dimension's base.
_UNITS = (
    "time=1:second seconds sec secs s;.001:millisecond milliseconds ms msec;.000001:microsecond microseconds usec;"
    "1e-9:nanosecond nanoseconds ns;60:minute minutes min mins;3600:hour hours hr hrs h;86400:day days daily;"
    "604800:week weeks weekly;1209600:fortnight fortnights|"
    "months=1:month months monthly;12:year years yr yrs yearly annual annually;120:decade decades;1200:century centuries|"
    "length=1:metre metres meter meters m;1000:kilometre kilometres kilometer kilometers km kms;.01:centimetre "
    "centimetres centimeter centimeters cm cms;.001:millimetre millimetres millimeter millimeters mm;1e-6:micrometre micrometres micrometer "
    "micrometers micron microns um;1e-9:nanometre nanometres nanometer nanometers nm;"
    "1609.344:mile miles;.3048:foot feet ft;.0254:inch inches;.9144:yard yards|"
    "mass=1:gram grams gramme grammes g;1000:kilogram kilograms kilo kilos kg kgs;.001:milligram milligrams mg mgs;"
    "1e-6:microgram micrograms mcg mcgs ug;1e-9:nanogram nanograms ng;"
    "1000000:tonne tonnes ton tons;453.59237:lb lbs;28.349523:ounce ounces oz|"
    "volume=1:litre litres liter liters l;.001:millilitre millilitres milliliter milliliters ml mls cc;.01:centilitre "
    "centilitres centiliter centiliters cl;.1:decilitre decilitres deciliter deciliters dl;1e-6:microlitre microlitres "
    "microliter microliters ul;3.785:gallon gallons gal;.9464:quart quarts qt;"
    ".2366:cup cups;.01479:tablespoon tablespoons tbsp;.00493:teaspoon teaspoons tsp;.4732:pint pints|"
    "bytes=1:kb kilobyte kilobytes;1000:mb megabyte megabytes;1000000:gb gigabyte gigabytes gig gigs;1000000000:tb "
    "terabyte terabytes;1000000000000:pb petabyte petabytes;.001:byte bytes;1.024:kib;1048.576:mib;1073741.824:gib;"
    "1099511627.776:tib|rate=1:kbps kbit;1000:mbps mbit;1000000:gbps gbit|frequency=1:hz;1000:khz;1000000:mhz;1000000000:ghz|"
    "celsius=1:celsius centigrade|fahrenheit=1:fahrenheit|kelvin=1:kelvin|percent=1:percent %|"
    "power=1:watt watts w;1000:kilowatt kilowatts kw;1000000:megawatt megawatts;1000000000:gigawatt gigawatts gw;"
    "745.7:horsepower|energy=1:kwh;.001:wh;1000:mwh;.001163:kcal;.000277778:kj|voltage=1:volt volts v;.001:millivolt "
    "millivolts mv;1000:kilovolt kilovolts kv|current=1:amp amps ampere amperes;.001:milliamp milliamps|"
    "charge=1:mah;1000:ah|resistance=1:ohm ohms|pressure=1:psi;.145038:kpa;145.038:mpa;.0193368:mmhg;.0145038:mbar hpa|"
    "speed=1:kmh kph;1.609344:mph;1.852:knot knots;3.6:mps|area=1:acre acres;2.47105:hectare hectares|iu=1:iu|substance=1:mmol;1000:mol;.001:umol|loudness=1:decibel decibels db|"
    "usd=1:usd dollar dollars bucks|eur=1:eur euro euros|gbp=1:gbp pound pounds quid sterling|inr=1:inr rupee rupees rs|"
    "jpy=1:jpy yen|cny=1:cny yuan rmb|chf=1:chf franc francs|krw=1:krw won|aud=1:aud|nzd=1:nzd|sgd=1:sgd|"
    "hkd=1:hkd|sek=1:sek|nok=1:nok|dkk=1:dkk|pln=1:pln zloty zlotys|czk=1:czk|mxn=1:mxn|brl=1:brl|zar=1:zar rand|"
    "aed=1:aed dirham dirhams|rub=1:rub rouble roubles ruble rubles|cents=1:cent cents|pence=1:pence|"
    "btc=1:btc bitcoin bitcoins"
)
CURRENCY_SIGNS = {"$": "dollars", "€": "euros", "£": "pounds", "₹": "rupees", "¥": "yen"}


def _units() -> dict[str, tuple[str, str, float]]:
    found = {}
    for line in _UNITS.split("|"):
        dimension, groups = line.split("=")
        for group in groups.split(";"):
            factor, names = group.split(":")
            for name in names.split():
                found[name] = (names.split()[0], dimension, float(factor))
    return found


UNITS = _units()
BETWEEN_NUMBER_AND_UNIT = frozenset(
    "working calendar business consecutive full whole square sq cubic more additional extra us degree degrees".split()
)
# Words that say that a number is a version.
VERSIONED = frozenset("version versions ver release build firmware".split())

MONTHS = {
    name: names.split()[0]
    for names in (
        "january jan|february feb|march|april apr|may|june jun|july jul|august aug|september sept sep|october oct|"
        "november nov|december dec"
    ).split("|")
    for name in names.split()
}
MONTH_NAMES = tuple(dict.fromkeys(MONTHS.values()))
# Month names that are other words as well: only a month beside a day, a year or after these words.
AMBIGUOUS_MONTHS = frozenset("may march jan jun dec sep mar".split())
BEFORE_MONTH = frozenset("in by until till since of from next last this during before after early late mid end".split())
WEEKDAYS = {
    form: day for day in "monday tuesday wednesday thursday friday saturday sunday".split() for form in (day, day + "s")
}
RELATIVE_DAYS = {"yesterday": "yesterday", "tomorrow": "tomorrow", "tmrw": "tomorrow"}
PERIODS = frozenset("week month year quarter weekend semester season night morning summer winter".split())
PERIOD_SIDES = {
    "last": "last", "previous": "last", "past": "last", "next": "next", "coming": "next", "upcoming": "next",
    "this": "this", "current": "this", "following": "next",
}  # fmt: skip
FRESH = frozenset("current latest newest now today".split())

# --- opposites -------------------------------------------------------------------------------------------------------

# Words starting with "+" are particles of a phrasal verb (log in, turn off).
ANTONYMS = (
    "+on +off|+in +out|+up +down|open close|open shut|opened closed|add remove|add delete|insert remove|insert delete|"
    "attach detach|enable disable|enable deactivate|activate deactivate|activation deactivation|buy sell|buyer seller|"
    "buying selling|purchase sell|increase decrease|increase reduce|increase lower|raise lower|raise reduce|rise fall|"
    "gain lose|boost reduce|grow shrink|enlarge shrink|import export|importing exporting|lend borrow|lender borrower|"
    "deposit withdraw|deposit withdrawal|win lose|arrive depart|arrival departure|arrive leave|start stop|start end|"
    "start finish|begin end|begin finish|begin stop|start quit|launch quit|enter exit|enter leave|entrance exit|"
    "join leave|join quit|accept reject|accept decline|accept refuse|approve reject|approve deny|approval rejection|"
    "allow forbid|allow prohibit|allow deny|allow block|permit forbid|permit prohibit|grant revoke|grant deny|"
    "give take|send receive|sender recipient|sender receiver|upload download|install uninstall|"
    "install remove|connect disconnect|link unlink|lock unlock|block unblock|mute unmute|follow unfollow|"
    "subscribe unsubscribe|subscribe cancel|friend unfriend|hide show|hide unhide|hide reveal|archive unarchive|"
    "archive restore|delete restore|delete recover|delete create|create destroy|create remove|build destroy|"
    "encrypt decrypt|encode decode|compress decompress|compress extract|zip unzip|pack unpack|load unload|"
    "mount unmount|freeze thaw|freeze unfreeze|freeze melt|heating cooling|warm cool|hot cold|boil freeze|"
    "push pull|lift drop|inhale exhale|ascend descend|ascending descending|rise set|sunrise sunset|dawn dusk|"
    "expand contract|expand collapse|extend shorten|lengthen shorten|stretch compress|tighten loosen|tight loose|"
    "thicken thin|thick thin|strengthen weaken|strong weak|strength weakness|harden soften|hard soft|hard easy|"
    "difficult easy|difficulty ease|simple complex|simple complicated|fast slow|quick slow|speed slow|accelerate brake|"
    "big small|large small|long short|tall short|high low|deep shallow|wide narrow|broad narrow|heavy light|"
    "heavyweight lightweight|bright dark|bright dim|light dark|day night|daytime nighttime|noon midnight|"
    "summer winter|indoor outdoor|indoors outdoors|inside outside|interior exterior|internal external|inner outer|"
    "inbound outbound|incoming outgoing|inflow outflow|input output|front back|front rear|top bottom|left right|"
    "north south|east west|northern southern|eastern western|upper lower|upstairs downstairs|upgrade downgrade|"
    "upstream downstream|upside downside|uphill downhill|forward backward|forwards backwards|forward reverse|"
    "clockwise anticlockwise|clockwise counterclockwise|horizontal vertical|odd even|positive negative|plus minus|"
    "add subtract|multiply divide|addition subtraction|multiplication division|integrate differentiate|"
    "numerator denominator|row column|rows columns|prefix suffix|first last|maximize minimize|maximise minimise|"
    "pro con|advantage disadvantage|advantage drawback|benefit drawback|benefit risk|benefit harm|benefit disadvantage|"
    "upside drawback|strengths weaknesses|best worst|cheap expensive|cheap costly|rich poor|wealthy poor|"
    "affordable expensive|free paid|legal illegal|public private|personal business|domestic foreign|"
    "domestic international|national international|local remote|local global|online offline|onsite remote|urban rural|"
    "true false|correct incorrect|success failure|succeed fail|pass fail|victory defeat|attack defend|"
    "offense defense|offence defence|predator prey|love hate|like dislike|happy sad|happiness sadness|"
    "young old|new old|newest oldest|modern ancient|fresh stale|alive dead|birth death|born die|born died|marry divorce|"
    "marriage divorce|single married|male female|man woman|men women|boy girl|boys girls|husband wife|father mother|"
    "dad mum|dad mom|son daughter|brother sister|uncle aunt|king queen|employee employer|landlord tenant|"
    "teacher student|doctor patient|host guest|client server|customer supplier|parent child|master slave|"
    "hire fire|hire resign|hired fired|promote demote|promotion demotion|bullish bearish|bull bear|long-term short-term|"
    "asset liability|assets liabilities|credit debit|creditor debtor|income expense|income expenses|revenue cost|"
    "profit loss|surplus deficit|inflation deflation|supply demand|wholesale retail|gross net|fixed variable|"
    "fixed floating|refund charge|earn spend|save spend|debt savings|wet dry|clean dirty|full empty|fill empty|"
    "raw cooked|sweet sour|sweet savoury|sharp blunt|smooth rough|sunny rainy|humid dry|acid base|acidic alkaline|"
    "acidic basic|anode cathode|proton electron|endothermic exothermic|solid liquid|hardware software|frontend backend|"
    "manual automatic|manually automatically|synchronous asynchronous|sync async|static dynamic|serial parallel|"
    "vertical horizontal|read write|readable writable|mutable immutable|debug release|staging production|"
    "black white|introvert extrovert|optimist pessimist|optimistic pessimistic|guilty innocent|prosecution defense|"
    "democrat republican|democrats republicans|liberal conservative|theist atheist|heaven hell|god devil|angel demon|"
    "hypothermia hyperthermia|hypertension hypotension|hyperthyroidism hypothyroidism|hyperglycemia hypoglycemia|"
    "nearsighted farsighted|constipation diarrhea|constipation diarrhoea|symptom cure|cause cure|cause effect|"
    "cause prevention|treat prevent|inpatient outpatient|breakfast dinner|lunch dinner|"
    "dinner lunch|oven microwave|monthly yearly|monthly annually|monthly annual|weekly monthly|daily weekly|"
    "daily monthly|daily hourly|weekday weekend|weekdays weekends|early late|earlier later|arrivals departures|"
    "pickup dropoff|pick drop|checkin checkout|singular plural|vowel consonant|upload delete|admit discharge|"
    "immigrate emigrate|immigration emigration|forget remember|"
    "include exclude|including excluding|inclusive exclusive|wrap unwrap|plug unplug|pause resume|stop resume|"
    "suspend resume|merge split|join split|merge separate|combine separate|inherit bequeath|lease buy|rent buy|"
    "rent own|renting buying|leasing buying|sit stand|wake sleep|talk listen|ripen rot|float sink|melt solidify|"
    "evaporate condense|absorb emit|attract repel|dilute concentrate|renew cancel|extend cancel|book cancel|"
    "confirm cancel|schedule cancel|assign unassign|pin unpin|check uncheck|select deselect|undo redo|"
    "mount dismount|ingress egress|minuend subtrahend|debits credits|stale fresh|critical low|sick healthy|"
    "vegan meat|gluten glutenfree|wired wireless|prepaid postpaid|front-end back-end|inward outward"
)

# Verbs and particles of which ANTONYMS knows the pairs.
PHRASAL = frozenset(
    lemma(verb)
    for verb in "turn switch log sign check opt zoom clock put power move go come set step phase get tune".split()
)
PARTICLES = frozenset("on off in out up down".split())

# axis: words that point one way : words that point the other.
_COMPARATORS = (
    "more=more greater greaterthan:less fewer lessthan|size=higher larger bigger greater:lower smaller|length=longer taller:shorter|"
    "place=above over:below under beneath|bound=atmost max maximum ceiling:atleast min minimum|"
    "most=most:least fewest|extreme=highest largest biggest greatest:lowest smallest|longest=longest tallest:shortest|"
    "rank=best top:worst|better=better:worse|order=before prior:after following|earliest=earliest soonest:latest|"
    "speed=faster quicker:slower|fastest=fastest quickest:slowest|price=cheapest:dearest|pricier=cheaper:dearer|"
    "age=older:younger newer|oldest=oldest:youngest newest|reach=atmost under below lessthan:over above atleast "
    "greaterthan|strict=greaterthan:atleast|strictly=lessthan:atmost|"
    "weight=heavier:lighter|heaviest=heaviest:lightest|easy=easier:harder|easiest=easiest:hardest|temp=hotter warmer:colder|"
    "hottest=hottest warmest:coldest|strong=stronger:weaker|strongest=strongest:weakest|rich=richest:poorest|"
    "near=nearest closest:farthest furthest|safe=safer:riskier|safest=safest:riskiest|"
    "equality=equalto:otherthan"
)
COMPARATORS = tuple(
    (frozenset(one.split()), frozenset(other.split()))
    for line in _COMPARATORS.split("|")
    for one, other in [line.partition("=")[2].split(":")]
)
BOUNDS = frozenset(word for pair in COMPARATORS for side in pair for word in side)
# Prepositions whose two sides cannot change places, and words between which order says nothing.
ASYMMETRIC = frozenset("instead to into than from by over after before onto towards".split())
SYMMETRIC = frozenset("and or vs versus with between".split())

# --- negation --------------------------------------------------------------------------------------------------------

NEGATORS = frozenset("not no never without none nobody nothing nowhere neither nor non lacking".split())
# A word that says "it does not happen" without a negator; with it on the other side, polarity is undecided.
SOFT_NEGATIVES = frozenset(
    lemma(word)
    for word in (
        "fail failure failed unable impossible refuse refusal trouble problem issue error struggle stuck wrong broken "
        "break stop deny denied reject block prevent avoid lack missing miss free forbid forbidden prohibit prohibited "
        "ban stuck skip ignore except instead rather than only empty absent absence lose lost forget forgot unwilling "
        "hate dislike difficult hard inability cannot dead down crash disabled disable invalid ineligible zero wrongly "
        "hardly barely rarely late overdue bounce exempt outside spare opt exclude fall declined decline keep cease "
        "still yet omit leave quit false until already unless offline unlimited"
    ).split()
)
PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti")

# --- people, scope, questions ----------------------------------------------------------------------------------------

_AUDIENCES = (
    "children=child kid toddler kindergartener schoolchild|babies=baby infant newborn|teenagers=teen teenager|"
    "adults=adult grown-up|seniors=senior elderly pensioner retiree|beginners=beginner newbie novice starter|"
    "experts=expert professional pro advanced|students=student pupil undergraduate|teachers=teacher|women=woman lady|"
    "girls=girl|men=man guy|boys=boy|dogs=dog puppy|cats=cat kitten|horses=horse|birds=bird parrot|rabbits=rabbit|"
    "businesses=business company enterprise corporate|couples=couple|families=family|"
    "tourists=tourist visitor|husband=husband|wife=wife|son=son|daughter=daughter|brother=brother|sister=sister|"
    "father=father dad|mother=mother mom mum|parents=parent|boyfriend=boyfriend|girlfriend=girlfriend|boss=boss manager|"
    "friend=friend|employees=employee|contractors=contractor freelancer|vegetarians=vegetarian|vegans=vegan|diabetics=diabetic"
)
AUDIENCES = {
    lemma(name): line.partition("=")[0] for line in _AUDIENCES.split("|") for name in line.partition("=")[2].split()
}

UNIVERSAL = frozenset("all every each everyone everything everybody entire whole both".split())
PARTIAL = frozenset("one single first last only some few another certain specific individual particular".split())
EXCEPTIONS = frozenset("except excluding besides excepting".split())

# Kinds of things: two questions about different members of one kind are about different things.
_KINDS = (
    "black white red green blue yellow orange purple pink brown grey|"
    "dog cat horse rabbit hamster parrot cow pig sheep goat chicken duck turkey fish salmon tuna shark dolphin whale "
    "octopus squid lion tiger elephant bear wolf fox snake lizard turtle frog spider bee wasp ant moose deer penguin|"
    "apple banana avocado mango grape strawberry blueberry cherry peach pear pineapple lemon lime watermelon kiwi|"
    "potato tomato carrot onion garlic broccoli spinach cucumber pepper lettuce mushroom corn|"
    "beef pork lamb chicken turkey bacon ham steak fish salmon tuna shrimp sushi brie tofu egg|"
    "rice pasta bread oats barley quinoa wheat rye noodles couscous|milk cheese butter yogurt cream oil margarine|"
    "coffee tea beer wine juice water soda whisky vodka rum gin cider champagne alcohol cigarettes|"
    "calorie carb protein sugar gluten dairy lactose sodium cholesterol caffeine iron zinc magnesium calcium potassium|"
    "aspirin ibuprofen paracetamol insulin penicillin amoxicillin metformin melatonin|"
    "diabetes asthma cancer flu chickenpox shingles measles mumps malaria cholera pneumonia bronchitis migraine eczema "
    "psoriasis arthritis anemia depression covid|"
    "knee ankle shoulder elbow wrist hip neck ear eye tooth foot hand finger toe stomach liver kidney lung heart "
    "brain skin hair nose throat tentacle|"
    "breakfast lunch brunch|triangle square rectangle pentagon hexagon octagon circle sphere cube cylinder cone pyramid|"
    "sine cosine tangent sin cos tan ln exp sqrt|derivative integral limit|mean median mode variance|"
    "gold silver copper platinum aluminum steel bronze tin lead nickel|"
    "carbon oxygen hydrogen nitrogen helium neon chlorine sulfur|"
    "car truck van motorbike scooter bike bus tram train plane boat ship ferry taxi pushchair|"
    "kitchen bathroom bedroom garage garden balcony attic basement hallway|"
    "fridge freezer dishwasher oven microwave toaster kettle vacuum dryer|"
    "laptop phone tablet desktop monitor printer router keyboard headphone webcam|"
    "jacket boots shirt trousers jeans dress skirt socks hat gloves shoe sweater belt|"
    "email sms fax letter|passport visa|invoice receipt contract payslip contact photo calendar|"
    "debit prepaid credit|checking savings|mortgage loan pension|roth traditional|"
    "football basketball baseball tennis golf hockey cricket rugby volleyball badminton swimming boxing|"
    "guitar piano violin drum flute saxophone trumpet cello|chess poker monopoly scrabble|"
    "physics chemistry biology mathematics history geography economics psychology philosophy|"
    "doctor dentist nurse lawyer accountant engineer teacher plumber electrician pilot chef architect pharmacist|"
    "president senator governor mayor minister king queen|patent trademark copyright|marriage divorce funeral|"
    "parking speeding|table column row index view trigger schema|heap stack queue array list tree graph|"
    "container image volume deployment statefulset daemonset|branch commit tag stash|cpu disk memory bandwidth|"
    "hdmi usb ethernet bluetooth displayport|csv pdf json xml html|confidential internal public|"
    "sales marketing finance engineering support legal hr|billing checkout search|pregnant breastfeeding|"
    "bachelor master doctorate|capital currency population flag anthem language|"
    "temperature humidity pressure voltage|startup charity school"
)


def _kinds() -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for number, line in enumerate(_KINDS.split("|")):
        for word in line.split():
            found.setdefault(lemma(word), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


KINDS = _kinds()

# Properties of one thing that a question may ask for.
_ASPECTS = (
    "weight=weigh weight heavy|height=height tall|width=width wide|depth=depth deep|speed=speed velocity|"
    "price=price cost fee surcharge|colour=colour color|capacity=capacity storage|warranty=warranty|"
    "expiry=expiry expire|ingredients=ingredient recipe|lyrics=lyric|author=author|symptoms=symptom|"
    "treatment=treatment|dosage=dosage dose|deadline=deadline|salary=salary wage|population=population inhabitant|"
    "capital=capital|currency=currency|battery=battery|screen=screen|calories=calorie|carbs=carb|"
    "protein=protein"
)
ASPECTS = {
    lemma(word): line.partition("=")[0] for line in _ASPECTS.split("|") for word in line.partition("=")[2].split()
}
# A single letter behind one of these tells things apart: Part B, vitamin C.
LABELS = frozenset(
    "part class vitamin hepatitis type plan grade option section group gate terminal zone category series appendix "
    "exhibit tier label mobile size".split()
)

AUXILIARIES = frozenset(
    "is are was were am do does did can could will would should has have had may might must shall".split()
)
EMBEDDING = frozenset(
    "know tell explain show say ask wonder wondering understand see learn sure idea remember me out about describe "
    "clarify check advise us and or".split()
)
POLITE = frozenset(
    "hi hello hey please pls so ok okay and but well also then quick question sorry thanks exactly".split()
)
QUESTION_WORDS = frozenset("how why when where who whom whose what which".split())
BEFORE_QUESTION_WORD = frozenset("in on at by from until since for to till".split())
PERMISSION = frozenset("can could may should would will".split())
SUBJECTS = frozenset("i we you they he she it there the my your our anyone somebody".split())
# What "how" asks for together with the next word.
HOW = {
    "long": "duration when count", "old": "age", "often": "frequency count", "frequently": "frequency count",
    "far": "distance count", "soon": "when duration", "late": "when", "early": "when", "quickly": "duration when",
    "about": "",
}  # fmt: skip
DEGREES = frozenset("good best well really like too very".split())
# Words that may stand between "what" and the noun that says what is asked for.
BEFORE_HEAD = frozenset(
    "is are was were the a an s best easiest right correct current average main proper some of simplest quickest most "
    "exact typical maximum minimum total possible different good easy would be your opening closing normal usual".split()
)
# What the noun after "what is the" asks for.
HEADS = {
    lemma(noun): asked
    for line in (
        "how=way method steps step process procedure technique trick approach means manner solution|"
        "why=reason cause rationale|"
        "amount=price cost fee charge fare rate salary|when=time date deadline day year month hours|"
        "where=place location address|count=number amount quantity|duration=duration|age=age|distance=distance|"
        "frequency=frequency"
    ).split("|")
    for asked, nouns in [line.split("=")]
    for noun in nouns.split()
}
# Pairs of question kinds that one answer cannot serve; every other pair may be worded either way.
CONFLICTS = frozenset(
    frozenset(pair.split())
    for pair in (
        "why how|why when|why where|why who|why amount|why count|why duration|why yesno|why def|why frequency|why age|"
        "when where|when who|when amount|when how|when def|when yesno|where who|where amount|where count|where duration|"
        "where def|where yesno|who how|who amount|who duration|who count|amount how|amount duration|amount frequency|"
        "amount yesno|amount def|amount age|yesno how|yesno who|yesno count|yesno duration|def how|def count|"
        "def duration|def yesno|age duration|frequency duration|how count|how age|how duration|how frequency|age count|distance amount|"
        "distance how|distance where"
    ).split("|")
)

STOPWORDS = frozenset(
    "a an the of in on at to for from by with and or but if then so as is are was were be been am being do does did "
    "have has had can could will would should may might must shall i me my mine we us our you your yours he him his she "
    "her it its they them their this that these those there here what which who whom whose when where why how not no "
    "any some all please pls hi hello hey thanks thank than instead too very just also into about get got s t m re ve ll d "
    "want need know tell one ones way ways best good really like use give".split()
)

# --- names -----------------------------------------------------------------------------------------------------------

# Names known whatever their case: canonical=other spellings and adjectives. A bare word is its own canonical form.
_NAMES = (
    "usa=us america american americans states|uk=britain british|england=english|scotland=scottish|wales=welsh|ireland=irish|"
    "france=french|germany=german germans|italy=italian italians|spain=spanish|portugal=portuguese|"
    "netherlands=dutch holland|belgium=belgian|switzerland=swiss|austria=austrian|poland=polish|sweden=swedish|"
    "norway=norwegian|denmark=danish|finland=finnish|iceland=icelandic|greece=greek|hungary=hungarian|romania=romanian|"
    "bulgaria=bulgarian|croatia=croatian|serbia=serbian|ukraine=ukrainian|russia=russian russians|"
    "china=chinese|japan=japanese|korea=korean|india=indian indians|pakistan=pakistani pakistanis|bangladesh|nepal|"
    "vietnam=vietnamese|thailand=thai|indonesia=indonesian|malaysia=malaysian|singapore|philippines=filipino|taiwan|"
    "australia=australian australians|canada=canadian canadians|mexico=mexican|brazil=brazilian|argentina=argentinian|"
    "chile=chilean|peru=peruvian|colombia=colombian|cuba=cuban|egypt=egyptian|morocco=moroccan|nigeria=nigerian|"
    "kenya=kenyan|ethiopia=ethiopian|ghana|israel=israeli|iran=iranian|iraq=iraqi|syria=syrian|saudi|"
    "dubai|qatar|europe=european eu|asia=asian|africa=african|london|paris|berlin|munich|hamburg|rome|milan|madrid|"
    "barcelona|lisbon|porto|amsterdam|brussels|vienna|zurich|geneva|prague|warsaw|budapest|athens|stockholm|oslo|"
    "copenhagen|helsinki|dublin|edinburgh|manchester|moscow|istanbul|tokyo|osaka|kyoto|beijing|shanghai|seoul|"
    "delhi|mumbai|bangalore=bengaluru|chennai|hyderabad|pune|kolkata|karachi|lahore|sydney|melbourne|toronto|vancouver|"
    "montreal|chicago|boston|seattle|houston|dallas|austin|denver|miami|atlanta|california=californian|texas|florida|"
    "nevada|oregon|ohio|michigan|"
    "google|apple|microsoft=ms|amazon|facebook=fb|instagram=insta ig|whatsapp|twitter|snapchat|tiktok|linkedin|youtube=yt|"
    "netflix|spotify|paypal|venmo|uber|lyft|airbnb|ebay|etsy|shopify|stripe|tesla|toyota|honda|ford|bmw|audi|mercedes|"
    "samsung|sony|nokia|huawei|xiaomi|lenovo|dell|asus|intel|amd|nvidia|ibm|oracle|cisco|adobe|slack|zoom|dropbox|"
    "notion|trello|jira|github|gitlab|bitbucket|reddit|quora|wikipedia|tinder|gmail|outlook|yahoo|telegram|"
    "discord|skype|windows|linux|ubuntu|debian|fedora|android|iphone|ipad|macbook|mac=macos osx|ios|chromebook|chrome|"
    "firefox|safari|excel|powerpoint|photoshop|illustrator|python|java|javascript=js|typescript|ruby|"
    "kotlin|scala|haskell|perl|php|golang|fortran|matlab|sql|mysql|postgresql=postgres|sqlite|mongodb|redis|"
    "cassandra|elasticsearch|kafka|docker|kubernetes=k8s|terraform|ansible|jenkins|aws|azure|gcp|heroku|django|flask|"
    "react|angular|vue|svelte|pytorch|tensorflow|pandas|numpy|git|svn|xbox|playstation|nintendo|visa|mastercard|amex|"
    "bitcoin|ethereum|islam=muslim muslims islamic|christianity=christian christians|hinduism=hindu hindus|"
    "buddhism=buddhist buddhists|judaism=jewish jews|"
    "mars=martian|venus|jupiter|saturn|mercury|neptune|uranus|pluto|"
    "netbeans|pixel|kindle|alexa|siri|fedex|ups|dhl|usps|lufthansa|ryanair|easyjet|ikea|walmart|costco|starbucks|"
    "trump|obama|biden|clinton|putin|modi|harvard|stanford|mit|oxford|cambridge|yale|princeton"
)
NAMES = {
    form: line.partition("=")[0]
    for line in _NAMES.split("|")
    for form in [line.partition("=")[0], *line.partition("=")[2].split()]
}
# Names that are common words as well and need their capital.
CASED_NAMES = frozenset(
    "us ms states apple amazon stripe ford oracle slack zoom notion ruby outlook react angular flask pandas mercury "
    "pixel visa ups mit polish turkey".split()
)
# Capitalised words inside a sentence that name nothing.
NOT_NAMES = frozenset(
    "i i'm i've i'd i'll im mr mrs ms dr prof sir president st ok okay the a an and or of in on for to is are do does "
    "what how why when where who which can if my you your we it hi hello please tv pm am faq ps eg ie vs etc asap "
    "new north south east west san los saint united university college city state great big best internet web "
    "online app january february march april may june july august september october november december "
    "monday tuesday wednesday thursday friday saturday sunday not no with from at by as that this "
    "should would could will but so he she they".split()
)

# --- languages -------------------------------------------------------------------------------------------------------

_LANGUAGES = (
    "en=the of and to is are what how do does can my i you for with in it that when where why which who  there a an "
    "from have be if on your was did should would not any much many|"
    "de=der die das und ist ein eine wie ich nicht mein meine für mit auf wo wann warum kann zu den von dem im "
    "welche wer sind werden habe bei einen es gibt wird was|"
    "fr=le la les et est un une comment je pas mon ma pour avec où quand pourquoi puis des du dans quel quelle  qui "
    "que sont ce cette mes il à peut faire sur combien|"
    "es=el la los las y es un una cómo como mi para con dónde cuándo qué por puedo de del en cuál quién son  está "
    "hay mis se cuánto cuesta donde cual|"
    "pt=o os as e é um uma como meu minha para com onde quando por posso de do da no na qual quem são está  não eu "
    "meus quanto custa que|"
    "it=il lo gli e è un una come mio mia per con dove quando perché posso di del della nel quale chi sono  non ho "
    "i che quanto costa mi|"
    "nl=de het een en is hoe ik niet mijn voor met op waar wanneer waarom kan te van welke wie zijn wat heb er  bij "
    "naar hoeveel moet|"
    "sv=och är en ett hur jag inte min mitt för med på var när varför kan att av vilken vem det som vad den|"
    "da=og er en et hvordan jeg ikke min mit for med på hvor hvornår hvorfor kan at af hvilken hvem det som hvad|"
    "pl=i jest jak nie moje mój dla z na gdzie kiedy dlaczego czy do w się co to jaki jaka ile mogę|"
    "tr=ve bir bu nasıl ne için nerede zaman neden mi mı var benim ile kim hangi kaç|"
    "id=dan yang di apa bagaimana saya untuk dengan kapan mengapa bisa ke dari ini itu berapa"
)
LANGUAGES = {
    language: frozenset(known.split()) for line in _LANGUAGES.split("|") for language, known in [line.split("=")]
}
# The first word of a character's Unicode name: the scripts that go by another name, and what belongs to no script.
SCRIPTS = {
    "CJK": "han", "IDEOGRAPHIC": "han", "HIRAGANA": "kana", "KATAKANA": "kana", "KATAKANA-HIRAGANA": "kana",
    "LATIN": "", "COMBINING": "", "MODIFIER": "", "VARIATION": "",
}  # fmt: skip
