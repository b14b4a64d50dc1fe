"""Written by scripts/measure_token_error.py --fit; do not edit.

Pairs of feature and hundredths of a token.
"""

WEIGHTS = """
^a 27 ^b 27 ^c 20 ^d 19 ^e 30 ^f 26 ^g 29 ^h 24 ^i 33 ^j 10 ^k 20 ^l 30 ^m 28 ^n 24 ^o 31 ^p 26 ^q 54 ^r 22
^s 32 ^t 26 ^u 27 ^v 28 ^w 29 ^x 36 ^y 30 ^z 44 ^~ -45 a$ 35 aa 35 ab 13 ac 5 accent 40 ad 16 ae 47 af 19 ag 5
ah 42 ai 7 aj 20 ak 35 al 9 am 11 an 10 ao -30 ap 7 aq 40 ar 7 as 23 at 6 au 6 av 28 aw 39 ax 21 ay 20 az 37
a~ -7 b$ 28 ba 9 bb 28 bc 22 bd 40 be 9 before-none 101 before-sign 135 before-space 36 bf 61 bg 49 bh 67
bi 23 bj -28 bk 35 bm 32 bn 48 bo 20 bp 57 bq 17 br -5 bs 12 bt 17 bu 14 bv 15 bw 6 by 31 bz 72 b~ 71 c$ 30
ca 7 cb 34 cc 19 cd 24 ce 13 cf 52 cg -4 ch 9 chr:12 35 chr:13 41 chr:17 38 chr:18 48 chr:1a 33 chr:1b 65
chr:1c 44 chr:21 40 chr:24 151 chr:26 50 chr:3e 147 chr:3f 56 chr:4 173 chr:5 247 chr:6 107 chr:60 29 chr:7 38
chr:8 28 chr:9 101 chr:a 46 chr:b 42 chr:c 31 chr:d 51 chr:han 75 chr:hangul 58 chr:kana 69 chr:latin 28 ci 17
cj 39 ck 16 cl 9 cm 30 cn 31 co 9 cp 24 cq 6 cr 10 cs 26 ct 6 cu 14 cv 55 cw 41 cx 59 cy 43 cz 50 c~ -33 d$ 21
da 15 db 46 dc 27 dd 13 de 19 df 66 dg 9 dh 70 di 16 digits 100 dj 10 dk 55 dl 28 dm 19 dn 31 do 25 dp 68
dq -23 dr 25 ds 23 dt 17 du 20 dv 4 dw 22 dx 66 dy 32 dz 49 d~ 59 e$ 20 ea -2 eb 27 ec 3 ed -1 ee 16 ef 9
eg 15 eh 31 ei 22 ej 19 ek 55 el 15 em 10 en 2 ending 56 eo 14 ep 12 eq 11 er -2 es 7 et 18 eu 11 ev 14 ew 12
ex 12 ey 28 ez 54 e~ 17 f$ 24 fa 7 fb 45 fc 60 fd 35 fe 16 ff 8 fg 7 fh 45 fi 13 fj 78 fk 2 fl 25 fm 27 fn 20
fo 14 fp 40 fq 59 fr 7 fs 26 ft 9 fu 16 fv 24 fw 69 fx 14 fy 27 fz 26 f~ -10 g$ 16 ga 29 gb 27 gc 37 gd 41
ge 11 gf 24 gg 58 gh -8 gi 26 gj 38 gk 18 gl 20 gm 13 gn 11 go 26 gp 54 gr -5 gs 34 gt 17 gu 17 gv 59 gw 56
gx 17 gy 6 gz 15 g~ 14 h$ 25 ha 21 hb 11 hc 48 hd 43 he 23 hf -3 hg 123 hh 38 hi 15 hj 23 hk 88 hl 55 hm 32
hn -10 ho 11 hp 44 hq 2 hr 4 hs 45 ht 5 hu 20 hv 12 hw 24 hx 8 hy 39 hz 13 i$ 40 ia 1 ib 6 ic -1 id 14 ie 16
if 9 ig 13 ih 49 ii -1 ij 9 ik 33 il 15 im 18 in 1 io -19 ip -2 iq 25 ir 12 is 15 it 5 iu 39 iv -1 iw 70 ix 26
iy 80 iz -1 i~ 25 j$ 45 ja 21 jb 3 jc 9 jd 33 je 33 jf 75 jg -21 jh 45 ji 34 jj 6 jk -57 jl -10 jm 119 jn 41
jo 24 jp -5 jr 23 js 49 jt 104 ju 35 jv 14 jw -22 jy 64 jz -6 j~ 64 k$ 24 ka 40 kb 18 kc 27 kd 38 ke 11 kf 35
kg -8 kh 30 ki 25 kj 77 kk 27 kl 50 km 45 kn 20 ko 66 kp 65 kq 12 kr 62 ks 16 kt 39 ku 43 kv 91 kw 33 ky 55
kz 29 k~ 12 l$ 15 la 6 lb 8 lc 27 ld 7 le 11 lf 6 lg 16 lh 44 li 10 lj 34 lk 38 ll 13 lm 15 ln 66 lo 13
lower-1 -8 lower-10 -31 lower-11 -30 lower-12 -17 lower-13 -3 lower-14 2 lower-15 26 lower-16 71 lower-17 80
lower-18 103 lower-19 85 lower-2 -10 lower-20 114 lower-3 -19 lower-4 -30 lower-5 -32 lower-6 -34 lower-7 -34
lower-8 -31 lower-9 -31 lower-none 58 lower-sign 72 lower-space 43 lp 1 lq 30 lr 38 ls 26 lt 18 lu 12 lv 9
lw 7 lx 52 ly 1 lz 78 l~ -6 m$ 24 ma 6 mb 3 mc 35 md 41 me 5 mf 26 mg 33 mh 66 mi 16 mj 8 mk 76 ml 54 mm 3
mn 62 mo 9 mp -6 mr 55 ms 21 mt 57 mu 8 mv 50 mw 15 mx 32 my 38 mz 38 m~ 41 n$ 27 na 19 nb 44 nc -9 nd 13
ne 23 nf 13 ng 4 nh 7 ni 25 nj 19 nk 30 nl 39 nm 19 nn 9 no 19 np 71 nq 68 nr 35 ns 15 nt 1 nu 31 nv 19 nw 17
nx 35 ny 50 nz 30 n~ 8 o$ 33 ob 18 oc 9 od 7 oe 30 of 13 og 19 oh 31 oi 5 oj -19 ok 26 ol 12 om 15 oo 16 op 13
oq 92 os 30 ot 12 ou 11 ov 25 ow 14 ox 11 oy 12 oz 40 o~ 42 p$ 24 pa 13 pb 34 pc 27 pd 36 pe 8 pf 40 pg 69
ph 1 pi 19 pj 40 pk 80 pl 10 pm 21 pn 42 po 14 pp 12 pq -56 pr 1 ps 43 pt 16 pu 5 pv 17 pw 82 px -1 py 30
pz 43 p~ 9 q$ 18 qa 79 qb 10 qc 16 qd 69 qf 12 qi 17 ql 7 qm 7 qn 64 qo -20 qp 36 qq 1 qr -13 qs 11 qt 21
qv 34 qw 38 r$ 26 ra 21 rb 25 rc 13 rd 13 re 16 repeat 18 rg 5 rh 35 ri 23 rj 17 rk 18 rl 19 rm 16 rn 2 ro 16
rp 17 rq 4 rr 8 rs 18 rt 11 ru 31 rv 20 rw 19 rx 20 ry 23 rz 73 r~ 4 s$ 15 sa 19 sb 54 sc 8 sd 39 se 5 sf 22
sg 60 sh -2 si 8 signs 96 sj 98 sk 21 sl 21 sm 18 sn 32 so 10 sp 6 space 100 sq 38 sr 26 ss 1 su 6 sv 77
sw -11 sx 49 sy 5 sym:12 6 sym:13 47 sym:1c 10 sym:1fe 24 sym:40 32 sym:41 7 sym:43 2 sym:44 12 sym:45 51
sym:4a 19 sym:4c 50 sym:60 9 sym:b 28 sym:c 10 sym:d 26 sym:latin 25 sz 64 s~ 21 t$ 22 ta 18 tb -9 tc 26 td 28
te 9 tf 10 tg 66 th 4 ti 7 title-1 -25 title-10 -16 title-11 -1 title-12 2 title-13 -2 title-14 25 title-15 50
title-16 76 title-17 79 title-18 95 title-19 52 title-2 -22 title-20 118 title-3 -29 title-4 -34 title-5 -30
title-6 -30 title-7 -32 title-8 -28 title-9 -21 title-none 72 title-sign 103 title-space 54 tj 80 tk 43 tl 27
tm 33 tn 43 to 12 tq 26 tr -2 ts 19 tt 20 tu 10 turn 32 tv 46 tw -4 tx 20 ty 16 tz 20 t~ 12 u$ 36 ua -15 ub 31
uc 6 ud 15 ue 4 uf 18 ug 13 uh 57 ui 6 uj 50 uk 40 ul 7 um 10 un 6 uo 14 up 17 upper-10 29 upper-11 78
upper-12 82 upper-13 100 upper-14 77 upper-15 -1 upper-16 12 upper-2 -50 upper-20 -25 upper-3 -41 upper-4 -16
upper-5 -16 upper-6 -1 upper-7 -2 upper-8 16 upper-9 45 upper-none 95 upper-sign 105 upper-space 86 uq 5 ur -1
us 21 ut 4 uu 14 uv 45 uw 66 ux 25 uy 76 uz 31 u~ 4 v$ 31 va 20 vb 88 vc 25 vd 46 ve 3 vf 47 vg 58 vh 6 vi 7
vk 37 vl 47 vm 56 vn 81 vo 17 vp 1 vr 40 vs 52 vt 77 vu 66 vv 24 vw -62 vx 32 vy 67 vz 26 w$ 18 wa 9 wb 18
wc 58 wd 64 we 16 wf 12 wg 17 wh 4 wi 18 wk 39 wl 14 wm 54 wn -4 wo 11 wp 43 wr -3 ws 3 wt 20 wu 40 wv 41 ww 7
wx -49 wy 92 wz 65 w~ 16 x$ 17 xa 8 xb 60 xc -7 xd 25 xe 13 xf 16 xg 12 xh -4 xi 11 xk 3 xl 54 xm -22 xn 19
xo 96 xp 13 xr 67 xs 61 xt 9 xu 23 xv 58 xw 3 xx 13 xy 10 xz 53 y$ 7 ya 38 yb 54 yc 50 yd 37 ye 24 yf 64 yg 52
yh 29 yi 21 yj 59 yk 56 yl 19 ym 34 yn 26 yo 14 yp 13 yr 19 ys 15 yt 10 yu 80 yv 54 yw 12 yx 73 yy 27 yz 31
y~ 32 z$ 18 za 34 zb 32 zc 68 zd 105 ze 20 zg 21 zh 36 zi 39 zj 31 zk 93 zl 27 zm 101 zn 13 zo 40 zp 48 zq -5
zr 73 zs 66 zt 21 zu 2 zv 30 zw 41 zy 32 zz 27 z~ 6 ~$ 50 ~a 24 ~b -4 ~c 10 ~d -28 ~e 19 ~f 51 ~g -48 ~i 33
~k 57 ~l -21 ~m 52 ~n -4 ~o 46 ~r 7 ~s -2 ~t 37 ~u 2 ~x 40 ~y 15 ~z 21
"""
